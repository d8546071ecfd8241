// Commits groups, one after the other, on a connection of its own, and keeps what it wrote last, so
// that it need not load it again (lane_cache.h). A lane has one, and what waits beside it another.
//
// When the database refuses a group, its halves run through the same function until the culprit
// stands alone. When nobody knows whether it committed, it runs again: the request rows say what
// was done. When somebody else keeps a row locked, it waits for a moment only; then those who need
// the row are left out, and the rest runs at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/base/steady_time.h"
#include "db/connection/lane_settings.h"
#include "db/connection/link.h"
#include "db/write/commit_group.h"
#include "db/write/lane_cache.h"
#include "db/write/submission.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// What is told of a group, for metrics.
struct GroupReport {
  std::size_t commands = 0;
  absl::Duration duration;
  bool committed = false;
  // Why it was not.
  absl::Status status;
  // The one that it went last.
  Way way = Way::kLocked;
  // It asked the database before it decided, by Way::kOptimistic for what was not kept.
  bool loaded = false;
  // It tried without locks first, in vain: somebody else had been there.
  bool conflict = false;
};

// A submission that was left out of its group.
struct Blocked {
  Submission* submission;
  // What is kept locked; something else than the two, where nobody knows.
  enum class By { kPartition, kSession, kSomethingElse } by;
  // By::kPartition: which one.
  int16_t partition = 0;
};

struct CommitterOptions {
  LaneSettings settings;
  std::string application_name;
  // Of sessions that are kept: half a kilobyte to a few each.
  std::size_t kept_bytes_max = 0;
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Whom to tell of what was committed; null for nobody. Outlives the committer.
  CommittedListener* listener = nullptr;
};

// One thread.
class Committer {
 public:
  using Group = absl::Span<Submission* const>;

  // REQUIRES: `catalog` and `clock` outlive it.
  Committer(CommitterOptions options, WorkflowCatalog& catalog, DatabaseClock& clock);

  // Does nothing if the connection is there.
  absl::Status Connect();
  void Disconnect() { link_.Close(); }

  // Decides the group and commits it. Afterwards every outcome is final, but of those that it
  // answers, in their order: they are as they were.
  std::vector<Blocked> Settle(Group group);

  // Of the group, those whose partition or session somebody else keeps locked at present. Waits for
  // none of them. LOCK_TIMEOUT: a whole table is locked. DATABASE_UNAVAILABLE.
  absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group);

 private:
  absl::Status CommitOnce(Group submissions, GroupReport* report);
  absl::StatusOr<bool> LoadAndWrite(CommitGroup& group, GroupReport* report);
  std::vector<Blocked> SettleTheRest(Group group, std::vector<Blocked> blocked);
  void RollBack(const absl::Status& status);
  void QueueTimeout(const CommitGroup& group);
  absl::StatusOr<std::vector<Result>> Trip();
  void AnswerAll(Group group, const absl::Status& status);

  const CommitterOptions options_;
  WorkflowCatalog& catalog_;
  DatabaseClock& clock_;
  Link link_;
  LaneCache memory_;
  // The next trip begins with a statement that is no group's.
  bool timeout_queued_ = false;
};

}  // namespace sessiond::db
