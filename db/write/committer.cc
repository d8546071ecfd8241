#include "db/write/committer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

// How long a lane retries after a lost connection: PostgreSQL restarts in about half a second.
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr absl::Duration kReconnectPause = absl::Milliseconds(50);

LinkOptions LinkOf(const CommitterOptions& options) {
  LinkOptions link{.connection = LaneConnection(options.settings, options.application_name),
                   .primary = options.settings.primary};
  link.connection.expects_conflicts = true;
  // The last value counts. Readers wait for all of it.
  const absl::Duration moment =
      std::min(options.settings.lock_moment, options.settings.lock_timeout);
  link.connection.settings.emplace_back("lock_timeout",
                                        absl::StrCat(absl::ToInt64Milliseconds(moment)));
  return link;
}

// Conflicts of an optimistic group with others: a position that has moved, a request that was
// carried out.
bool IsConflict(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return sqlstate == "23502" || sqlstate == "23505";
}

}  // namespace

Committer::Committer(CommitterOptions options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : options_(std::move(options)),
      catalog_(catalog),
      clock_(clock),
      link_(LinkOf(options_)),
      cache_(options_.cached_bytes_max) {}

absl::Status Committer::Connect() {
  const int openings = link_.openings();
  if (auto connected = link_.Connect(); !connected.ok()) return connected;
  if (link_.openings() == openings) return absl::OkStatus();
  timeout_queued_ = false;
  // What was on the wire may or may not have been committed, and the database may be another one.
  cache_.Clear();
  clock_.Forget();
  return absl::OkStatus();
}

bool Committer::AwaitConnection(SteadyTime begun) {
  const SteadyTime too_long_ago = SteadyTime::Now() - kPatience;
  if (begun <= too_long_ago || link_.lost_since() <= too_long_ago) return false;
  absl::SleepFor(kReconnectPause);
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
    QueueTimeout(submissions);
    const LookupReaders readers = QueueLookups(*lookups, catalog_, *link_);
    const auto results = RoundTrip();
    if (!results.ok()) return results.status();
    group.Take(ReadFinds(readers, *results));
  }
  const Decided decided = group.decided();
  absl::Status ended;
  if (decided == Decided::kToBeWritten) ended = Write(group, submissions);
  if (decided == Decided::kNothingToWrite && report->mode == CommitMode::kLocked)
    ended = EndLocked(group);
  if (!ended.ok()) return ended;
  report->committed = decided != Decided::kInVain && group.AnyAccepted();
  return decided;
}

// No caller may be answered that its request was done before while that commit is not yet
// everywhere that it must be: because of the locks, this commit waits for all before it.
absl::Status Committer::EndLocked(const CommitGroup& group) {
  const bool confirms = group.AnyAccepted();
  link_->Queue(confirms ? kCommit : kRollback);
  const auto ended = RoundTrip();
  if (!ended.ok()) return ended.status();
  return !confirms || IsCommitted(ended->front()) ? absl::OkStatus() : CommitInDoubt();
}

absl::Status Committer::Write(CommitGroup& group, Group submissions) {
  QueueTimeout(submissions);
  const std::vector<ExpectedResult> expected = QueueRows(group.Rows(), *link_);
  const auto results = RoundTrip();
  const auto written = results.ok() ? ReadWritten(expected, *results) : results.status();
  if (!written.ok()) {
    if (ConnectionIsGone(written.status())) group.LeftInDoubt();
    return written.status();
  }
  if (!written->defect.ok()) {
    group.Refuse(written->defect);
    return absl::OkStatus();
  }
  group.Committed(written->time);
  options_.settings.primary->Acknowledged(group.positions());
  if (auto committed = group.TakeCommitted(); !committed.empty())
    options_.listener->on_committed(std::move(committed));
  return absl::OkStatus();
}

void Committer::RollBack(const absl::Status& status) {
  // Its cache is lost with it.
  if (ConnectionIsGone(status)) return link_.Close();
  // The sync ended the skipping of statements, not the transaction.
  link_->Queue(kRollback);
  if (!link_.Trip(SteadyTime::Now() + options_.settings.statement_timeout).ok()) link_.Close();
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
  const std::vector<int16_t> partitions = PartitionsOf(group);
  Params of_partitions;
  of_partitions.AddInt2Array(partitions);
  // Rows that are free get locked by the check. Rolled back, since a commit would hold the locks
  // until it is on the disk.
  link_->Queue(kBegin);
  link_->Queue(kFindLockedPartitions, std::move(of_partitions));
  link_->Queue(kFindLockedSessions, SetParams(partitions, sessions, WriteSessionKey));
  link_->Queue(kRollback);
  const auto found = RoundTrip();
  if (!found.ok()) {
    RollBack(found.status());
    return found.status();
  }
  absl::flat_hash_set<int16_t> locked_partitions;
  for (int row = 0; row < (*found)[1].rows(); ++row)
    locked_partitions.insert((*found)[1].Int2(row, 0));
  absl::flat_hash_set<absl::string_view> locked_sessions;
  for (int row = 0; row < (*found)[2].rows(); ++row)
    locked_sessions.insert(sessions[(*found)[2].Int4(row, 0)].id);
  return BlockedBy(group, locked_partitions, locked_sessions);
}

// Nothing runs on for callers that have gone: if the last of their deadlines is sooner than the
// statement timeout, it becomes the statement timeout.
void Committer::QueueTimeout(Group group) {
  SteadyTime last = SteadyTime::InfinitePast();
  for (const Submission* submission : group) last = std::max(last, submission->deadline.time);
  const absl::Duration left = last - SteadyTime::Now();
  if (left >= options_.settings.statement_timeout) return;
  Params timeout;
  timeout.AddText(absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(left))));
  link_->Queue(kLimitStatements, std::move(timeout));
  timeout_queued_ = true;
}

// Each round trip waits for at most one lock and some statements; the margin lets PostgreSQL's own
// timeouts fire first.
absl::StatusOr<std::vector<Result>> Committer::RoundTrip() {
  auto results = link_.Trip(SteadyTime::Now() + options_.settings.lock_timeout +
                            2 * options_.settings.statement_timeout);
  if (std::exchange(timeout_queued_, false) && results.ok()) results->erase(results->begin());
  return results;
}

}  // namespace sessiond::db
