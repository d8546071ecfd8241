#include "db/sweep_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(10);

BinaryParams TimeParam(absl::Time time) {
  BinaryParams params;
  params.AddTimestamp(time);
  return params;
}

// Rows of ids and revisions.
absl::StatusOr<std::vector<DueSession>> ReadDue(const absl::StatusOr<Result>& found) {
  if (!found.ok()) return found.status();
  std::vector<DueSession> due;
  for (int row = 0; row < found->rows(); ++row)
    due.push_back({std::string(found->Text(row, 0)), found->Int4(row, 1)});
  return due;
}

}  // namespace

SweepQueries::SweepQueries(const LaneSettings& settings, const SteadyEvent& stop)
    : stop_(stop),
      link_({.connection = LaneConnection(settings, "sessiond sweeper"),
             .primary = settings.primary}) {}

absl::StatusOr<Result> SweepQueries::Ask(const Statement& statement, BinaryParams params) {
  if (stop_.HasHappened()) return absl::CancelledError("asked to stop");
  if (auto connected = link_.Connect(); !connected.ok()) return connected;
  link_->Queue(statement, std::move(params));
  auto results = link_.RoundTrip(SteadyTime::Now() + kTimeout);
  if (!results.ok()) return results.status();
  return std::move(results->front());
}

absl::StatusOr<absl::Time> SweepQueries::Now() {
  const auto identity = Ask(kLoadIdentity);
  if (!identity.ok()) return identity.status();
  return identity->Timestamp(0, 2);
}

absl::Status SweepQueries::AnalyzeWhatGrew() {
  const auto grown = Ask(kFindGrownTables);
  if (!grown.ok()) return grown.status();
  if (grown->IsNull(0, 0)) return absl::OkStatus();
  return link_->Execute(absl::StrCat("ANALYZE ", grown->Text(0, 0)), SteadyTime::Now() + kTimeout);
}

absl::StatusOr<std::vector<SilentTask>> SweepQueries::FindSilentTasks() {
  const auto silent = Ask(kFindSilentTasks);
  if (!silent.ok()) return silent.status();
  std::vector<SilentTask> tasks;
  for (int row = 0; row < silent->rows(); ++row) {
    tasks.push_back({.session_id = std::string(silent->Text(row, 0)),
                     .task_id = std::string(silent->Text(row, 1)),
                     .task_type = std::string(silent->Text(row, 2)),
                     .heartbeat_timeout = absl::Milliseconds(silent->Int8(row, 3))});
  }
  return tasks;
}

absl::StatusOr<std::vector<DueSession>> SweepQueries::FindStaleCreations(absl::Time time) {
  return ReadDue(Ask(kFindStaleCreations, TimeParam(time)));
}

absl::StatusOr<std::vector<DueSession>> SweepQueries::FindAbandonedSessions(
    absl::string_view workflow, int32_t revision, absl::Time time) {
  BinaryParams params;
  params.AddText(workflow);
  params.AddInt4(revision);
  params.AddTimestamp(time);
  return ReadDue(Ask(kFindAbandonedSessions, std::move(params)));
}

absl::StatusOr<std::vector<std::string>> SweepQueries::FindDueSessions(DuePosition* position) {
  BinaryParams params;
  params.AddTimestamp(position->purge_at);
  params.AddText(position->session_id);
  const auto due = Ask(kFindDueSessions, std::move(params));
  if (!due.ok()) return due.status();
  std::vector<std::string> session_ids;
  for (int row = 0; row < due->rows(); ++row) {
    session_ids.emplace_back(due->Text(row, 0));
    *position = {.purge_at = due->Timestamp(row, 1), .session_id = session_ids.back()};
  }
  return session_ids;
}

absl::StatusOr<int64_t> SweepQueries::PurgeRequests(absl::Time time) {
  const auto purged = Ask(kPurgeRequests, TimeParam(time));
  if (!purged.ok()) return purged.status();
  return purged->affected();
}

}  // namespace sessiond::db
