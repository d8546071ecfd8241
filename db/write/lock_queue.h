// Beside a lane waits what it would have to wait for: commands whose session, or partition,
// somebody else keeps locked, by hand or because of a slow disk. A thread with a connection of its
// own tries them again and again until they are free, or have waited long enough. The lane goes on
// meanwhile.
//
//   lane ──▶ group ──▶ a lock that takes longer than a moment ──Add──▶ ┐
//     └─ later commands for the same session or partition ──TakeOver──▶┴▶ look · commit what is
//     free
//
// The commands of a session stay in order: while one of them waits here, all that come later do,
// too. What was found locked is remembered for a while, so that the next command for it costs the
// lane no moment.
//
// Here nobody waits for a session's row while it holds a partition: what is locked is seen without
// waiting. Only for a partition a moment is waited at the end of the queue, one after the other,
// for where many daemons want it, it may never be seen free.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "db/write/committer.h"
#include "db/write/submission.h"

namespace sessiond::db {

struct LockQueueOptions {
  CommitterOptions committer;
  // More than this many waiting are overload.
  std::size_t items_max = 4096;
  std::size_t group_items_max = 256;
};

class LockQueue {
 public:
  // REQUIRES: `catalog` and `clock` outlive it.
  LockQueue(LockQueueOptions options, WorkflowCatalog& catalog, DatabaseClock& clock);
  ~LockQueue();

  // Takes those out of the group whose turn is here. Each of them is done later, on this thread or
  // on the queue's.
  void TakeOver(std::vector<Submission*>* group);
  // Takes on what was left out of a group.
  void Add(const std::vector<Blocked>& blocked);

  // Waits until what waits is done. REQUIRES: nothing more comes.
  void Drain();

  std::size_t waiting() const;

 private:
  struct Waiting {
    Submission* submission;
    // When it has waited for long enough.
    SteadyTime until;
    // Nobody knows what its group was blocked by: it is tried with its session alone.
    bool alone;
  };
  // What of those that wait may be tried now.
  struct Due {
    std::vector<Submission*> free;
    // Each is tried by itself, for a moment.
    std::vector<std::vector<Submission*>> doubtful;
  };
  void Run();
  // Whether anything has come of it.
  bool Try(Committer& committer);
  bool AnswerLate(std::vector<Waiting>* waiting);
  Due Sort(Committer& committer, const std::vector<Waiting>& waiting);
  std::vector<Submission*> InTurn(absl::Span<Submission* const> asked);
  bool Settle(Committer& committer, absl::Span<Submission* const> asked);
  bool BelongsHere(const Submission& submission);
  bool Push(Submission* submission, bool alone);
  void Remember(const Blocked& blocked);
  void Finish(const std::vector<Submission*>& done);

  const LockQueueOptions options_;
  WorkflowCatalog& catalog_;
  DatabaseClock& clock_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All of the following: under the mutex. In the order of arrival; only the queue's thread takes
  // out.
  std::deque<Waiting> waiting_;
  // How many wait of each session.
  absl::flat_hash_map<std::string, int> sessions_;
  // What was found locked lately, and until when that is remembered.
  absl::flat_hash_map<std::string, SteadyTime> locked_sessions_;
  absl::flat_hash_map<int16_t, SteadyTime> locked_partitions_;
  bool closed_ = false;

  // The queue's thread only: whose turn it is among the doubtful.
  std::size_t turn_ = 0;

  std::thread thread_;
};

}  // namespace sessiond::db
