// A lane: one thread, one connection, one inbox, and some of the partitions. While one group's
// commit is on the wire, the inbox collects the next: order within a session without locks, batches
// without timers, one fsync for many callers, and no added delay when idle (a group of one).
//
//   Submit ──▶ inbox ──▶ group ──▶ load · decide · write · COMMIT ──▶ Done
//                ▲ everything that waits, up to 256        │
//                └──────────── meanwhile ◀─────────────────┘
//
// What it wrote last it keeps, so that it need not load it again (lane_memory.h).
//
// When a group fails, its halves run through the same function until the culprit stands alone. When
// nobody knows whether it committed, it runs again: the request rows say what was done.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/commit_group.h"
#include "db/committed.h"
#include "db/connection.h"
#include "db/inbox.h"
#include "db/lane_memory.h"
#include "db/lane_settings.h"
#include "db/submission.h"
#include "server/state_machine/workflow_catalog.h"

namespace sessiond::db {

// What a lane tells of a group, for metrics.
struct GroupReport {
  std::size_t commands = 0;
  absl::Duration duration;
  bool committed = false;
  // The one that it went last.
  Way way = Way::kLocked;
  // It asked the database before it decided, by Way::kOptimistic for what was not kept.
  bool loaded = false;
  // It tried without locks first, in vain: somebody else had been there.
  bool conflict = false;
};

struct LaneOptions {
  LaneSettings settings;
  InboxOptions inbox;
  // Of sessions that are kept: half a kilobyte to a few each.
  std::size_t kept_bytes_max = 0;
  // Called on the lane's thread.
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Whom to tell of what was committed; null for nobody. Outlives the lane.
  CommittedListener* listener = nullptr;
};

class Lane {
 public:
  // REQUIRES: `catalog` and `clock` outlive the lane.
  Lane(LaneOptions options, WorkflowCatalog& catalog, DatabaseClock& clock);
  // Finishes what waits.
  ~Lane();

  // Takes a submission on; its Done is called later, on the lane's thread. A refusal (OVERLOADED,
  // DRAINING) instead means that it was not taken on.
  absl::Status Submit(Submission* submission);

  // Lets nothing in any more, and waits until what waited is done.
  void Drain();

  std::size_t waiting() const { return inbox_.size(); }

 private:
  using Group = absl::Span<Submission* const>;

  // All of the following: lane thread only.
  void Run();
  void Settle(Group group);
  absl::Status CommitOnce(Group submissions, GroupReport* report);
  absl::StatusOr<bool> LoadAndWrite(CommitGroup& group, GroupReport* report);
  void RollBack(const absl::Status& status);
  absl::StatusOr<std::vector<Result>> Trip();
  absl::Status Connect();
  void AnswerAll(Group group, const absl::Status& status);

  const LaneOptions options_;
  WorkflowCatalog& catalog_;
  DatabaseClock& clock_;
  Inbox<Submission*> inbox_;

  // Lane thread only.
  std::unique_ptr<Connection> connection_;
  LaneMemory memory_;
  // When the connection was lost; while it has been for longer than kPatience, groups are answered
  // at once.
  SteadyTime lost_since_ = SteadyTime::InfiniteFuture();

  std::thread thread_;
};

}  // namespace sessiond::db
