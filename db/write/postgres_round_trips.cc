#include "db/write/postgres_round_trips.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

LinkOptions LinkOf(const LaneSettings& settings, const std::string& application_name) {
  LinkOptions link{.connection = LaneConnection(settings, application_name),
                   .primary = settings.primary};
  link.connection.expects_conflicts = true;
  // The last value counts. Readers wait for all of it.
  const absl::Duration moment = std::min(settings.lock_moment, settings.lock_timeout);
  link.connection.settings.emplace_back("lock_timeout",
                                        absl::StrCat(absl::ToInt64Milliseconds(moment)));
  return link;
}

}  // namespace

PostgresRoundTrips::PostgresRoundTrips(const LaneSettings& settings,
                                       const std::string& application_name,
                                       WorkflowCatalog& catalog)
    : settings_(settings), catalog_(catalog), link_(LinkOf(settings, application_name)) {}

void PostgresRoundTrips::Pause(absl::Duration duration) { absl::SleepFor(duration); }

absl::StatusOr<GroupFinds> PostgresRoundTrips::LookUp(const GroupLookups& lookups,
                                                      SteadyTime until) {
  link_.LimitStatements(until, settings_.statement_timeout);
  const LookupReaders readers = QueueLookups(lookups, catalog_, *link_);
  const auto results = Send();
  if (!results.ok()) return results.status();
  return ReadFinds(readers, *results);
}

absl::StatusOr<Written> PostgresRoundTrips::Write(const GroupRows& rows, SteadyTime until) {
  link_.LimitStatements(until, settings_.statement_timeout);
  const std::vector<ExpectedResult> expected = QueueRows(rows, *link_);
  const auto results = Send();
  if (!results.ok()) return results.status();
  return ReadWritten(expected, *results);
}

absl::Status PostgresRoundTrips::End(bool commit) {
  link_->Queue(commit ? kCommit : kRollback);
  const auto ended = Send();
  if (!ended.ok()) return ended.status();
  return !commit || IsCommitted(ended->front()) ? absl::OkStatus() : CommitInDoubt();
}

absl::Status PostgresRoundTrips::RollBack() {
  link_->Queue(kRollback);
  return link_.RoundTrip(SteadyTime::Now() + settings_.statement_timeout).status();
}

absl::StatusOr<FoundLocked> PostgresRoundTrips::FindLocked(
    const std::vector<int16_t>& partitions, const std::vector<SessionKey>& sessions) {
  BinaryParams of_partitions;
  of_partitions.AddInt2Array(partitions);
  // Rows that are free get locked by the check. Rolled back, since a commit would hold the locks
  // until it is on the disk.
  link_->Queue(kBegin);
  link_->Queue(kFindLockedPartitions, std::move(of_partitions));
  link_->Queue(kFindLockedSessions, SetParams(partitions, sessions, WriteSessionKey));
  link_->Queue(kRollback);
  const auto found = Send();
  if (!found.ok()) return found.status();
  FoundLocked locked;
  for (int row = 0; row < (*found)[1].rows(); ++row)
    locked.partitions.insert((*found)[1].Int2(row, 0));
  for (int row = 0; row < (*found)[2].rows(); ++row)
    locked.sessions.insert((*found)[2].Int4(row, 0));
  return locked;
}

// Each round trip waits for at most one lock and some statements; the margin lets PostgreSQL's own
// timeouts fire first.
absl::StatusOr<std::vector<Result>> PostgresRoundTrips::Send() {
  return link_.RoundTrip(SteadyTime::Now() + settings_.lock_timeout +
                         2 * settings_.statement_timeout);
}

}  // namespace sessiond::db
