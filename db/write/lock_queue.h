// Where commands wait whose session, or partition, another transaction holds locked, by hand or
// because of a slow disk. A thread with a connection of its own tries them repeatedly until they
// are free, or have waited long enough. The lane goes on meanwhile.
//
//   lane ──▶ group ──▶ a lock that takes longer than a moment ──Add──▶ ┐
//     └─ later commands for the same session or partition ──TakeOver──▶┴▶ look · commit free ones
//
// The commands of a session stay in order: while one of them waits here, all later ones wait here
// too. What was found locked is remembered for a while, so that the next command for it does not
// delay the lane.
//
// The queue never waits for a session's row while it holds a partition: it sees what is locked
// without waiting. Only for partitions does it wait a moment, at the end of a pass, one after the
// other: a partition that many daemons want may never be seen free.
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

class LockQueue {
 public:
  // Of the inbox's limits those of items are its own. REQUIRES: `catalog` and `clock` outlive it.
  LockQueue(LaneOptions options, WorkflowCatalog& catalog, DatabaseClock& clock);
  ~LockQueue();

  // Starts the thread that tries those who wait.
  void Start();

  // Takes the commands out of the group that must wait here. Each is done later, on this thread or
  // on the queue's.
  void TakeOver(std::vector<Submission*>* group);
  // Accepts commands that were left out of a group.
  void Add(const std::vector<Blocked>& blocked);

  // Waits until all that wait are done. REQUIRES: nothing more is added.
  void Drain();

  std::size_t waiting() const;

  // One attempt at all that wait; whether any command was done. REQUIRES: called on the queue's
  // thread or, before Start, on a thread in its place.
  bool Try(Committer& committer);

 private:
  struct Waiting {
    Submission* submission;
    // When it has waited long enough.
    SteadyTime until;
    // It is unknown what blocked its group: it is tried with its session alone.
    bool alone;
  };
  // The waiting commands that may be tried now.
  struct Due {
    std::vector<Submission*> free;
    // Each is tried alone, for a moment.
    std::vector<std::vector<Submission*>> doubtful;
  };
  void Run();
  bool AnswerLate(std::vector<Waiting>* waiting);
  Due Sort(Committer& committer, const std::vector<Waiting>& waiting);
  std::vector<Submission*> InTurn(absl::Span<Submission* const> asked);
  bool Settle(Committer& committer, absl::Span<Submission* const> asked);
  // REQUIRES: the mutex is held; also for the next two.
  bool BelongsHere(const Submission& submission);
  bool Push(Submission* submission, bool alone);
  void Remember(const Blocked& blocked);
  void Finish(const std::vector<Submission*>& done);

  const LaneOptions options_;
  WorkflowCatalog& catalog_;
  DatabaseClock& clock_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All of the following: under the mutex. In the order of arrival; only the queue's thread
  // removes.
  std::deque<Waiting> waiting_;
  // How many wait for each session.
  absl::flat_hash_map<std::string, int> sessions_;
  // What was found locked lately, and until when that is remembered.
  absl::flat_hash_map<std::string, SteadyTime> locked_sessions_;
  absl::flat_hash_map<int16_t, SteadyTime> locked_partitions_;
  bool closed_ = false;

  // The queue's thread only: the next of the doubtful to try.
  std::size_t turn_ = 0;

  std::thread thread_;
};

}  // namespace sessiond::db
