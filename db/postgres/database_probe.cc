#include "db/postgres/database_probe.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "db/connection/dial.h"
#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

constexpr absl::Duration kWriteCheckPeriod = absl::Seconds(10);

// How long changes may go to an old primary that runs on after another was promoted: each check
// costs every host a connection.
constexpr absl::Duration kLookAroundPeriod = absl::Seconds(2);

// What lanes reported within this, plus the time that it took them, counts, whatever a write check
// finds: a write check may not meet the same trouble.
constexpr absl::Duration kFresh = absl::Seconds(2);

// A write check's statement takes a millisecond.
constexpr char kStatementTimeoutMs[] = "1500";

// The schema's version, whether the server cannot be written to, and whether somebody's COMMIT has
// waited for long for a synchronous standby. A write check would not notice: it does not wait for
// one.
constexpr char kAsk[] = R"(
    SELECT max(version)::int, pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
           EXISTS (SELECT FROM pg_stat_activity
                   WHERE datname = current_database() AND usename = current_user
                     AND wait_event = 'SyncRep'
                     AND state_change < clock_timestamp() - interval '3 seconds')
    FROM schema_migrations)";

// As a lane begins its writes; a locked partition is being written to, so that is no trouble.
constexpr char kChangeNothing[] =
    "UPDATE partitions SET position = position "
    "WHERE partition = (SELECT partition FROM partitions WHERE partition = 0 FOR UPDATE SKIP "
    "LOCKED)";

constexpr char kWaitsForStandby[] =
    "changes wait for a synchronous standby, which does not confirm them: bring it back, "
    "or take it out of synchronous_standby_names";

constexpr absl::Duration kLongWait = absl::Seconds(3);  // As in kAsk.

// What exceeds the minimum of work_mem is written to the disk; only so is a full disk noticed.
constexpr char kSpill[] = "SELECT count(*) FROM generate_series(1, 8000)";

constexpr absl::string_view kPooled =
    "a pooler in between gives transactions other sessions: it must pool sessions, as PgBouncer's "
    "pool_mode = session does";

struct Row {
  absl::string_view sqlstate;
  absl::StatusCode code;
  absl::string_view sentence;
};

// clang-format off
constexpr Row kRows[] = {
    {"25006", absl::StatusCode::kResourceExhausted,
     "the database is read-only: it is a standby, to be replaced by the primary in --db-url, or default_transaction_read_only is on, to be reset for the role, the database or the server"},
    {"53100", absl::StatusCode::kResourceExhausted,
     "the disk of PostgreSQL is full: free space on it, or give it more"},
    {"53200", absl::StatusCode::kResourceExhausted,
     "PostgreSQL is out of memory: give it more, or lower its settings"},
    {"53300", absl::StatusCode::kResourceExhausted,
     "PostgreSQL lets in no more connections: raise max_connections, or the limit of the role or the database, or have others use fewer (SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2)"},
    {"53",    absl::StatusCode::kResourceExhausted,
     "PostgreSQL is out of resources: its log says of which"},
    {"55P03", absl::StatusCode::kResourceExhausted,
     "a change does not come through, because somebody keeps rows locked: pg_locks says who"},
    {"57014", absl::StatusCode::kResourceExhausted,
     "a change does not come through: pg_stat_activity says what it waits for"},
    {"26",    absl::StatusCode::kFailedPrecondition,
     kPooled},
    {"42P05", absl::StatusCode::kFailedPrecondition,
     kPooled},
    {"42501", absl::StatusCode::kFailedPrecondition,
     "the role may not do what changes need: let the owner of the tables GRANT it, or serve as the owner"},
    {"28",    absl::StatusCode::kUnavailable,
     "PostgreSQL does not let the role in: check its password, LOGIN, VALID UNTIL and CONNECT, and pg_hba.conf"},
    {"3D",    absl::StatusCode::kUnavailable,
     "PostgreSQL has no such database"},
    {"58",    absl::StatusCode::kResourceExhausted,
     "PostgreSQL cannot read or write its files: its log says which; look after the disk that they are on"},
    {"XX001", absl::StatusCode::kResourceExhausted,
     "data of PostgreSQL is damaged: its log says what; restore that from a backup"},
    {"XX002", absl::StatusCode::kResourceExhausted,
     "an index of PostgreSQL is damaged: its log says which; make it anew by REINDEX"},
    {"57P",   absl::StatusCode::kUnavailable,
     "PostgreSQL is starting or stopping"},
    {"08",    absl::StatusCode::kUnavailable,
     "the database does not answer"},
    {"",      absl::StatusCode::kResourceExhausted,
     "the database refuses what changes need"},
};
// clang-format on

}  // namespace

void LaneReports::Committed(SteadyTime now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  committed_ = now;
}

void LaneReports::Failed(const absl::Status& why, absl::Duration took, SteadyTime now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  failed_ = now;
  took_ = took;
  why_ = why;
}

SteadyTime LaneReports::last_commit() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return committed_;
}

absl::Status LaneReports::TroubleSince(SteadyTime since) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return failed_ > committed_ && failed_ + took_ >= since ? why_ : absl::OkStatus();
}

absl::Status DatabaseTrouble(absl::string_view sqlstate, absl::string_view trouble) {
  // To a role that may not connect, PostgreSQL says what it says of tables.
  const bool may_not_connect = sqlstate == "42501" && absl::StartsWith(trouble, "connecting: ");
  const absl::string_view kind = sqlstate.empty() ? "08" : may_not_connect ? "28" : sqlstate;
  const Row* row = kRows;
  while (!absl::StartsWith(kind, row->sqlstate)) ++row;  // The last row fits everything.
  std::string said(row->sentence);
  if (!sqlstate.empty()) absl::StrAppend(&said, " (SQLSTATE ", sqlstate, ")");
  if (!trouble.empty()) absl::StrAppend(&said, "; it says: ", trouble);
  return absl::Status(row->code, said);
}

DatabaseProbe::DatabaseProbe(LaneSettings settings, const LaneReports& reports)
    : settings_(std::move(settings)),
      reports_(reports),
      several_hosts_(NamesSeveralHosts(settings_.dsn)) {}

absl::StatusOr<int> DatabaseProbe::Look(SteadyTime deadline) {
  const SteadyTime now = SteadyTime::Now();
  const bool lanes_fail = !reports_.TroubleSince(SteadyTime::InfinitePast()).ok();
  // While the old connection is open, so that the free slot that is found is not its own.
  const bool looks_around = several_hosts_ && now >= look_around_due_;
  if (lanes_fail || looks_around || link_ == nullptr || !link_->Connect(deadline).ok()) {
    look_around_due_ = now + kLookAroundPeriod;
    const absl::Status connected = Connect(deadline);
    const bool may_stay = looks_around && !lanes_fail && link_ != nullptr && link_->connected();
    if (!connected.ok() && !may_stay) return Explain(connected);
  }
  const absl::StatusOr<int> version = Ask(deadline);
  if (!version.ok()) return Explain(version.status());
  // A lane gives up in between, and waits again. What a lane has committed meanwhile was confirmed.
  if (now - waited_ < kWriteCheckPeriod && reports_.last_commit() < waited_ - kLongWait)
    return absl::ResourceExhaustedError(kWaitsForStandby);
  const bool worked = reports_.last_commit() > last_write_check_ && !lanes_fail;
  if (worked) {
    write_check_ = absl::OkStatus();
    last_write_check_ = now;
  } else if (lanes_fail || !write_check_.ok() || now - last_write_check_ >= kWriteCheckPeriod) {
    write_check_ = Try(deadline);
    last_write_check_ = now;
  }
  if (!write_check_.ok()) return Explain(write_check_);
  if (absl::Status trouble = reports_.TroubleSince(now - kFresh); !trouble.ok())
    return Explain(trouble);
  return version;
}

absl::StatusOr<int> DatabaseProbe::Ask(SteadyTime deadline) {
  (*link_)->QueueSql(kAsk);
  const auto answer = link_->RoundTrip(deadline);
  if (!answer.ok()) return answer.status();
  const Result& result = answer->front();
  if (result.Bool(0, 1) || result.Bool(0, 2))
    return SqlError("25006", "probe", "", /*expected=*/true);
  if (result.Bool(0, 3)) waited_ = SteadyTime::Now();
  return result.IsNull(0, 0) ? 0 : result.Int4(0, 0);
}

absl::Status DatabaseProbe::Try(SteadyTime deadline) {
  (*link_)->QueueSql(kChangeNothing);
  if (const auto changed = link_->RoundTrip(deadline); !changed.ok()) return changed.status();
  (*link_)->QueueSql(kSpill);
  const absl::Status spilled = link_->RoundTrip(deadline).status();
  // If the role may use less of the disk than that, the disk cannot be tested.
  return SqlStateOf(spilled) == "53400" ? absl::OkStatus() : spilled;
}

absl::Status DatabaseProbe::Connect(SteadyTime deadline) {
  ConnectionOptions options = LaneConnection(settings_, "sessiond health");
  options.statements = {};
  options.settings.emplace_back("statement_timeout", kStatementTimeoutMs);
  options.settings.emplace_back("work_mem", "64");  // kB, the minimum.
  // A commit that waits for a standby outlasts its connection: abandoned write checks would pile up
  // in the server. The lanes find out whether standbys confirm.
  options.settings.emplace_back("synchronous_commit", "local");
  auto link = std::make_unique<Link>(LinkOptions{.connection = std::move(options),
                                                 .primary = settings_.primary,
                                                 .watches_positions = true,
                                                 .quiet = true});
  if (absl::Status connected = link->Connect(deadline); !connected.ok()) return connected;
  link_ = std::move(link);
  return absl::OkStatus();
}

absl::Status DatabaseProbe::Explain(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  if (ReasonOf(status) == v1::SCHEMA_MISMATCH && sqlstate != "42501" &&
      !IsAnotherSession(sqlstate)) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is not as this daemon needs it (SQLSTATE ", sqlstate, ", ",
                     TroubleOf(status), "): run `sessiond doctor`"));
  }
  return DatabaseTrouble(sqlstate, TroubleOf(status));
}

}  // namespace sessiond::db
