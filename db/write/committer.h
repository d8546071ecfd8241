// Runs groups on a connection of its own: makes the round trips that a CommitGroup asks for
// (round_trips.h), in optimistic mode if possible, else in locked mode. It caches what it wrote
// last, so that it need not be looked up again (lane_cache.h). A lane has one, and its lock queue
// another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/base/lane_inbox.h"
#include "db/base/steady_time.h"
#include "db/connection/lane_settings.h"
#include "db/write/commit_group.h"
#include "db/write/group_retry.h"
#include "db/write/lane_cache.h"
#include "db/write/round_trips.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// What is reported about a group, for metrics.
struct GroupReport {
  std::size_t commands = 0;
  absl::Duration duration;
  // Whether anything was committed: false if all commands were refused.
  bool committed = false;
  absl::Status status;
  // The last mode that it ran in.
  CommitMode mode = CommitMode::kLocked;
  // It looked something up before it decided.
  bool looked_up = false;
  // Its optimistic run failed: another daemon had moved a partition, or a request was a repeated
  // one.
  bool conflict = false;
};

struct CommitterOptions {
  LaneSettings settings;
  std::string application_name = "sessiond lane";
  // For cached sessions: half a kilobyte to a few each.
  std::size_t cache_bytes_max = 0;
  // Called on the threads of the lane and its lock queue.
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Notified of what was committed; null for none. Outlives the committer.
  CommittedListener* listener = nullptr;
};

// Of a lane, and of its lock queue.
struct LaneOptions {
  CommitterOptions committer;
  LaneInboxOptions inbox;
};

// One thread.
class Committer : public GroupRunner {
 public:
  // REQUIRES: `catalog` and `clock` outlive it.
  Committer(CommitterOptions options, WorkflowCatalog& catalog, DatabaseClock& clock);
  Committer(CommitterOptions options, std::unique_ptr<RoundTrips> round_trips,
            WorkflowCatalog& catalog, DatabaseClock& clock);

  // Does nothing if already connected.
  absl::Status Connect();
  void Disconnect() { round_trips_->Close(); }

  absl::Status Run(Group group) override;
  absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) override;
  bool AwaitConnection(SteadyTime begun) override;

 private:
  absl::Status RunInModes(Group submissions, GroupReport* report);
  absl::StatusOr<Decided> RunGroup(CommitGroup& group, Group submissions, GroupReport* report);
  absl::Status Write(CommitGroup& group, Group submissions);
  void RollBack(const absl::Status& status);

  const CommitterOptions options_;
  const std::unique_ptr<RoundTrips> round_trips_;
  WorkflowCatalog& catalog_;
  DatabaseClock& clock_;
  LaneCache cache_;
};

}  // namespace sessiond::db
