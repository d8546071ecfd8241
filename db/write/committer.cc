#include "db/write/committer.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "db/base/failpoint.h"
#include "db/connection/sql_error.h"
#include "db/write/postgres_round_trips.h"

namespace sessiond::db {
namespace {

// How long a lane retries after a lost connection: PostgreSQL restarts in about half a second.
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr absl::Duration kReconnectPause = absl::Milliseconds(50);

// Conflicts of an optimistic group with others: a position that has moved, a request that was
// carried out.
bool IsConflict(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return sqlstate == "23502" || sqlstate == "23505";
}

// When the last caller of the group stops waiting.
SteadyTime LastDeadline(Group group) {
  SteadyTime last = SteadyTime::InfinitePast();
  for (const Submission* submission : group) last = std::max(last, submission->deadline.time);
  return last;
}

}  // namespace

Committer::Committer(CommitterOptions options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : Committer(
          options,
          std::make_unique<PostgresRoundTrips>(options.settings, options.application_name, catalog),
          catalog, clock) {}

Committer::Committer(CommitterOptions options, std::unique_ptr<RoundTrips> round_trips,
                     WorkflowCatalog& catalog, DatabaseClock& clock)
    : options_(std::move(options)),
      round_trips_(std::move(round_trips)),
      catalog_(catalog),
      clock_(clock),
      cache_(options_.cache_bytes_max) {}

absl::Status Committer::Connect() {
  const int openings = round_trips_->openings();
  if (auto connected = round_trips_->Connect(); !connected.ok()) return connected;
  if (round_trips_->openings() == openings) return absl::OkStatus();
  // What was on the wire may or may not have been committed, and the database may be another one.
  cache_.Clear();
  clock_.Forget();
  return absl::OkStatus();
}

bool Committer::AwaitConnection(SteadyTime begun) {
  const SteadyTime too_long_ago = SteadyTime::Now() - kPatience;
  if (begun <= too_long_ago || round_trips_->lost_since() <= too_long_ago) return false;
  round_trips_->Pause(kReconnectPause);
  return true;
}

absl::Status Committer::Run(Group group) {
  const SteadyTime begun = SteadyTime::Now();
  GroupReport report{.commands = group.size()};
  report.status = RunInModes(group, &report);
  report.duration = SteadyTime::Now() - begun;
  options_.on_group(report);
  return report.status;
}

absl::Status Committer::RunInModes(Group submissions, GroupReport* report) {
  const bool listening = options_.listener != nullptr && options_.listener->listening;
  for (const CommitMode mode : {CommitMode::kOptimistic, CommitMode::kLocked}) {
    if (auto connected = Connect(); !connected.ok()) return connected;
    report->mode = mode;
    CommitGroup group(submissions, catalog_, cache_, clock_, mode, listening);
    const absl::StatusOr<Decided> decided = RunGroup(group, submissions, report);
    if (!decided.ok()) RollBack(decided.status());
    const bool in_vain = decided.ok() && *decided == Decided::kInVain;
    if (mode == CommitMode::kLocked || !(in_vain || IsConflict(decided.status())))
      return decided.status();
    // Else it has not begun.
    report->conflict = !in_vain || report->looked_up;
  }
  return absl::InternalError("a group in locked mode always ends");
}

absl::StatusOr<Decided> Committer::RunGroup(CommitGroup& group, Group submissions,
                                            GroupReport* report) {
  while (const std::optional<GroupLookups> lookups = group.Next()) {
    report->looked_up = true;
    auto finds = round_trips_->LookUp(*lookups, LastDeadline(submissions));
    if (!finds.ok()) return finds.status();
    group.Take(*std::move(finds));
  }
  const Decided decided = group.decided();
  absl::Status ended;
  if (decided == Decided::kToBeWritten) ended = Write(group, submissions);
  // No caller may be answered that its request was done before while that commit is not yet
  // everywhere that it must be: because of the locks, this commit waits for all before it.
  if (decided == Decided::kNothingToWrite && report->mode == CommitMode::kLocked)
    ended = round_trips_->End(/*commit=*/group.AnyAccepted());
  if (!ended.ok()) return ended;
  report->committed = decided != Decided::kInVain && group.AnyAccepted();
  return decided;
}

absl::Status Committer::Write(CommitGroup& group, Group submissions) {
  Reached(Failpoint::kGroupDecided);
  const auto written = round_trips_->Write(group.Rows(), LastDeadline(submissions));
  if (!written.ok()) {
    if (ConnectionIsGone(written.status())) group.LeftInDoubt();
    return written.status();
  }
  if (!written->defect.ok()) {
    group.Refuse(written->defect);
    return absl::OkStatus();
  }
  Reached(Failpoint::kGroupCommitted);
  group.Committed(written->time);
  options_.settings.primary->Acknowledged(group.positions());
  if (auto committed = group.TakeCommitted(); !committed.empty())
    options_.listener->on_committed(std::move(committed));
  Reached(Failpoint::kGroupPublished);
  return absl::OkStatus();
}

void Committer::RollBack(const absl::Status& status) {
  // Its cache is lost with it.
  if (ConnectionIsGone(status)) return round_trips_->Close();
  // The sync ended the skipping of statements, not the transaction.
  if (!round_trips_->RollBack().ok()) round_trips_->Close();
}

absl::StatusOr<std::vector<Blocked>> Committer::FindBlocked(Group group) {
  if (auto connected = Connect(); !connected.ok()) return connected;
  std::vector<SessionKey> sessions;
  absl::flat_hash_set<absl::string_view> seen;
  for (const Submission* submission : group) {
    const auto ix = static_cast<int32_t>(sessions.size());
    if (seen.insert(submission->command.session_id).second)
      sessions.push_back({submission->partition, submission->command.session_id, ix});
  }
  const auto found = round_trips_->FindLocked(PartitionsOf(group), sessions);
  if (!found.ok()) {
    RollBack(found.status());
    return found.status();
  }
  absl::flat_hash_set<absl::string_view> locked_sessions;
  for (const int32_t ix : found->sessions) locked_sessions.insert(sessions[ix].id);
  return BlockedBy(group, found->partitions, locked_sessions);
}

}  // namespace sessiond::db
