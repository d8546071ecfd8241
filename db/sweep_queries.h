// Queries of the sweeper: which sessions are due, a batch at a time. The work itself is commands.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/connection/lane_settings.h"
#include "db/connection/link.h"

namespace sessiond::db {

// A running task whose worker has been silent for longer than allowed.
struct SilentTask {
  std::string session_id, task_id, task_type;
  absl::Duration heartbeat_timeout;
};

// A session as it was found.
struct DueSession {
  std::string session_id;
  int32_t revision = 0;
};

// Of the sessions that are due, the last one that was found; before them all.
struct DuePosition {
  absl::Time purge_at = absl::InfinitePast();
  std::string session_id;
};

// One thread. All also return UNAVAILABLE if the database does not answer, and CANCELLED once
// `stop` has happened: the work ends after the current batch.
class SweepQueries {
 public:
  // REQUIRES: `stop` outlives it.
  SweepQueries(const LaneSettings& settings, const SteadyEvent& stop);

  // The next query connects again.
  void Close() { link_.Close(); }

  // The time by the database's clock.
  absl::StatusOr<absl::Time> Now();
  // The lanes' plans are made once: plans made for empty tables are made again when the tables are
  // analyzed, and PostgreSQL itself takes a minute to notice.
  absl::Status AnalyzeWhatGrew();
  absl::StatusOr<std::vector<SilentTask>> FindSilentTasks();
  // Those in CREATING since before `time`.
  absl::StatusOr<std::vector<DueSession>> FindStaleCreations(absl::Time time);
  // Those of a workflow's revision that have not been recovered since before `time`.
  absl::StatusOr<std::vector<DueSession>> FindAbandonedSessions(absl::string_view workflow,
                                                                int32_t revision, absl::Time time);
  // Those whose payload may be removed by retention, behind `position`, which goes on.
  absl::StatusOr<std::vector<std::string>> FindDueSessions(DuePosition* position);
  // Removes a batch of request ids from before `time`. Returns how many.
  absl::StatusOr<int64_t> PurgeRequests(absl::Time time);

 private:
  absl::StatusOr<Result> Ask(const Statement& statement, BinaryParams params = {});

  const SteadyEvent& stop_;
  Link link_;
};

}  // namespace sessiond::db
