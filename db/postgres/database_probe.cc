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

constexpr absl::Duration kTrialPeriod = absl::Seconds(10);

// How long changes may go to an old primary that runs on after another was promoted: each check
// costs every host a connection.
constexpr absl::Duration kLookAroundPeriod = absl::Seconds(2);

// What lanes reported within this, plus the time that it took them, counts, whatever a trial finds:
// a trial may not meet the same trouble.
constexpr absl::Duration kFresh = absl::Seconds(2);

// A trial's statement takes a millisecond.
constexpr char kStatementTimeoutMs[] = "1500";

// The schema's version, and whether the server cannot be written to.
constexpr char kAsk[] =
    "SELECT max(version)::int, pg_is_in_recovery(), current_setting('transaction_read_only')::bool "
    "FROM schema_migrations";

// As a lane begins its writes; a locked partition is being written to, so that is no trouble.
constexpr char kChangeNothing[] =
    "UPDATE partitions SET position = position "
    "WHERE partition = (SELECT partition FROM partitions WHERE partition = 0 FOR UPDATE SKIP "
    "LOCKED)";

// What exceeds the minimum of work_mem is written to the disk; only so is a full disk noticed.
constexpr char kSpill[] = "SELECT count(*) FROM generate_series(1, 8000)";

struct Row {
  absl::string_view sqlstate;
  absl::StatusCode code;
  absl::string_view sentence;
};

// The first prefix that fits wins.
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
    {"42501", absl::StatusCode::kFailedPrecondition,
     "the role may not do what changes need: let the owner of the tables GRANT it, or serve as the owner"},
    {"57P",   absl::StatusCode::kUnavailable,
     "PostgreSQL is starting or stopping"},
    {"",      absl::StatusCode::kUnavailable,
     "the database does not answer"},
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
  const Row* row = kRows;
  while (!absl::StartsWith(sqlstate, row->sqlstate)) ++row;  // The last row fits everything.
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
  const bool worked = reports_.last_commit() > last_trial_ && !lanes_fail;
  if (worked) {
    trial_ = absl::OkStatus();
    last_trial_ = now;
  } else if (lanes_fail || !trial_.ok() || now - last_trial_ >= kTrialPeriod) {
    trial_ = Try(deadline);
    last_trial_ = now;
  }
  if (!trial_.ok()) return Explain(trial_);
  if (absl::Status trouble = reports_.TroubleSince(now - kFresh); !trouble.ok())
    return Explain(trouble);
  return version;
}

absl::StatusOr<int> DatabaseProbe::Ask(SteadyTime deadline) {
  (*link_)->QueueSql(kAsk);
  const auto answer = link_->Trip(deadline);
  if (!answer.ok()) return answer.status();
  const Result& result = answer->front();
  if (result.Bool(0, 1) || result.Bool(0, 2))
    return SqlError("25006", "probe", "", /*expected=*/true);
  return result.IsNull(0, 0) ? 0 : result.Int4(0, 0);
}

absl::Status DatabaseProbe::Try(SteadyTime deadline) {
  (*link_)->QueueSql(kChangeNothing);
  if (const auto changed = link_->Trip(deadline); !changed.ok()) return changed.status();
  (*link_)->QueueSql(kSpill);
  const absl::Status spilled = link_->Trip(deadline).status();
  // If the role may use less of the disk than that, the disk cannot be tested.
  return SqlStateOf(spilled) == "53400" ? absl::OkStatus() : spilled;
}

absl::Status DatabaseProbe::Connect(SteadyTime deadline) {
  ConnectionOptions options = LaneConnection(settings_, "sessiond health");
  options.statements = {};
  options.settings.emplace_back("statement_timeout", kStatementTimeoutMs);
  options.settings.emplace_back("work_mem", "64");  // kB, the minimum.
  // A commit that waits for a standby outlasts its connection: abandoned trials would pile up in
  // the server. The lanes find out whether standbys confirm.
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
  if (ReasonOf(status) == v1::SCHEMA_MISMATCH && sqlstate != "42501") {
    return absl::FailedPreconditionError(
        absl::StrCat("it is not as this daemon needs it (SQLSTATE ", sqlstate, ", ",
                     TroubleOf(status), "): run `sessiond doctor`"));
  }
  return DatabaseTrouble(sqlstate, TroubleOf(status));
}

}  // namespace sessiond::db
