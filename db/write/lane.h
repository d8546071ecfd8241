// A lane: one thread, one connection, one inbox, and some of the partitions. While one group's
// commit is on the wire, the inbox collects the next: order within a session without locks, batches
// without timers, one fsync for many callers, and no added delay when idle (a group of one).
//
//   Submit ──▶ inbox ──▶ group ──▶ load · decide · write · COMMIT ──▶ Done
//                ▲ everything that waits, up to 256        │
//                └──────────── meanwhile ◀─────────────────┘
//
// How a group commits is its committer's (committer.h). What somebody else keeps locked leaves the
// group, and waits beside (lock_queue.h).
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "db/base/committed.h"
#include "db/base/inbox.h"
#include "db/connection/lane_settings.h"
#include "db/write/committer.h"
#include "db/write/lock_queue.h"
#include "db/write/submission.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

struct LaneOptions {
  LaneSettings settings;
  InboxOptions inbox;
  // Of sessions that are kept: half a kilobyte to a few each.
  std::size_t kept_bytes_max = 0;
  // Called on the threads of the lane and its lock queue.
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Whom to tell of what was committed; null for nobody. Outlives the lane.
  CommittedListener* listener = nullptr;
};

class Lane {
 public:
  // REQUIRES: `catalog` and `clock` outlive the lane.
  Lane(const LaneOptions& options, WorkflowCatalog& catalog, DatabaseClock& clock);
  // Finishes what waits.
  ~Lane();

  // Takes a submission on; its Done is called later, on a thread of the lane's. A refusal
  // (OVERLOADED, DRAINING) instead means that it was not taken on.
  absl::Status Submit(Submission* submission);

  // Lets nothing in any more, and waits until what waited is done.
  void Drain();

  // In the inbox, and beside.
  std::size_t waiting() const { return inbox_.size() + lock_queue_.waiting(); }

 private:
  void Run();

  Inbox<Submission*> inbox_;
  LockQueue lock_queue_;
  // Lane thread only.
  Committer committer_;

  std::thread thread_;
};

}  // namespace sessiond::db
