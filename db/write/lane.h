// A lane: one thread, one connection, one inbox, and some of the partitions. While one group's
// commit is on the wire, the inbox collects the next: order within a session without locks, batches
// without timers, one fsync for many callers, and no added delay when idle (a group of one).
//
//   Submit ──▶ inbox ──▶ group ──▶ load · decide · write · COMMIT ──▶ Done
//                ▲ everything that waits, up to 256        │
//                └──────────── meanwhile ◀─────────────────┘
//
// The committer commits groups (committer.h). Commands whose rows another transaction holds locked
// leave the group and wait in the lock queue (lock_queue.h).
#pragma once

#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "db/base/lane_inbox.h"
#include "db/write/committer.h"
#include "db/write/lock_queue.h"
#include "db/write/submission.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// A group's way through a lane: what must wait leaves the group for the lock queue, the rest is
// committed and answered. REQUIRES: called on the lane's thread, or on one in its place.
void Serve(std::vector<Submission*>* group, LockQueue& lock_queue, Committer& committer);

class Lane {
 public:
  // REQUIRES: `catalog` and `clock` outlive the lane.
  Lane(const LaneOptions& options, WorkflowCatalog& catalog, DatabaseClock& clock);
  // Finishes all that wait.
  ~Lane();

  // Accepts a submission; its Done is called later, on one of the lane's threads. A refusal
  // (OVERLOADED, DRAINING) means that it was not accepted.
  absl::Status Submit(Submission* submission);

  // OVERLOADED: nothing of this deadline and importance would be accepted now.
  absl::Status Check(SteadyTime deadline, Importance importance) {
    return inbox_.Check(deadline, importance);
  }
  void TurnedAway(Importance importance) { inbox_.TurnedAway(importance); }

  // Accepts no more, and waits until all that waited are done.
  void Drain();

  // In the inbox and in the lock queue.
  std::size_t waiting() const { return inbox_.size() + lock_queue_.waiting(); }

 private:
  void Run();

  LaneInbox<Submission*> inbox_;
  LockQueue lock_queue_;
  // Lane thread only.
  Committer committer_;

  std::thread thread_;
};

}  // namespace sessiond::db
