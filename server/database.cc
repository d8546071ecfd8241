#include "server/database.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"
#include "db/connection/conninfo.h"
#include "db/connection/lane_settings.h"
#include "db/connection/postgres_variables.h"
#include "db/connection/sql_error.h"
#include "db/postgres/capacity.h"
#include "db/postgres/database_probe.h"
#include "db/postgres/durability.h"
#include "db/postgres/integrity.h"
#include "db/postgres/migrate.h"
#include "db/postgres/pooling.h"
#include "db/postgres/rights.h"
#include "server/ops/log.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

// In addition to two for each lane, the second for its lock queue, and those of the query pool:
// five for reads by id, two for the reads of watches; and one each for counts, for writes that
// change no session, for the watches' polls, the sweeper and the probe.
constexpr int kOtherConnections = 12;
// To a PostgreSQL of our own: a person's psql, a backup, a second daemon that was told less.
constexpr int kGuestConnections = 24;

// Also for systemd, which would end a start that takes longer than it was told.
void TellOfRecovery() {
  Log(LogLevel::kInfo, "daemon",
      "PostgreSQL recovers from a crash, which takes as long as it has log to read");
  sd_notify(0, "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=PostgreSQL recovers from a crash");
}

// The result of one of db/'s checks on a connection of its own.
template <class Check>
absl::Status Ask(const std::string& dsn, Check check) {
  const SteadyTime deadline = SteadyTime::Now() + kConnectTimeout;
  const auto connection =
      db::Connection::Open({.dsn = dsn, .application_name = "sessiond doctor"}, deadline);
  return connection.ok() ? check(**connection, deadline) : connection.status();
}

// What to do about a database that does not let the daemon in.
std::string WayIn(absl::string_view sqlstate) {
  if (sqlstate == "53300") {
    return "raise PostgreSQL's max_connections, or the CONNECTION LIMIT of the role or the "
           "database, or end other connections";
  }
  if (absl::StartsWith(sqlstate, "57P")) return "wait until PostgreSQL has started";
  if (sqlstate == "42501") return "GRANT CONNECT ON DATABASE to the daemon's role";
  if (sqlstate == "55000") return "ALTER DATABASE … ALLOW_CONNECTIONS true";
  const std::vector<std::string> variables = db::LibpqVariables();
  return absl::StrCat(
      "check the URL with `psql`, and that PostgreSQL runs",
      variables.empty() ? "" : absl::StrCat("; beside it count ", absl::StrJoin(variables, ", ")));
}

// Whether a statement waited for too long.
bool Waited(absl::string_view sqlstate) { return sqlstate == "55P03" || sqlstate == "57014"; }

// What is told to callers, for one who has no request to repeat.
std::string WithoutRetry(absl::string_view sentence) {
  for (const absl::string_view retry :
       {" Retry with the same request_id.", " Retry later with the same request_id."})
    absl::ConsumeSuffix(&sentence, retry);
  const bool cut = absl::ConsumeSuffix(&sentence, "; retry with the same request_id.");
  return absl::StrCat(sentence, cut ? "." : "");
}

// Also after migrations: the tables may have been changed by hand since.
absl::Status CheckStatements(const std::string& dsn) {
  return db::Connection::Open(db::LaneConnection({.dsn = dsn}, "sessiond doctor"),
                              SteadyTime::Now() + kConnectTimeout)
      .status();
}

}  // namespace

bool MayLetInLater(const absl::Status& status) {
  const std::string sqlstate = db::SqlStateOf(status);
  return absl::StartsWith(sqlstate, "08") || absl::StartsWith(sqlstate, "57P") ||
         sqlstate == "53300" || Waited(sqlstate);
}

std::string ToldToOperator(const absl::Status& status) {
  const std::string sqlstate = db::SqlStateOf(status), trouble = db::TroubleOf(status);
  const absl::string_view said = trouble.empty() ? status.message() : trouble;
  const bool was_let_in = !absl::StartsWith(trouble, "connecting: ");
  if (was_let_in && (Waited(sqlstate) || trouble == "timed out")) {
    return "the database let us in, but did not answer in time: somebody may keep its tables "
           "locked, as pg_stat_activity and pg_locks say";
  }
  const bool in_doubt = sqlstate == "08007";      // It has written.
  const bool is_read_only = sqlstate == "25006";  // Of which the sentence says more.
  if ((!was_let_in && !is_read_only) || (MayLetInLater(status) && !in_doubt))
    return absl::StrCat("the database does not let us in (", said, "): ", WayIn(sqlstate));
  return absl::StrCat(WithoutRetry(status.message()),
                      trouble.empty() ? "" : absl::StrCat(" (", trouble, ")"));
}

absl::StatusOr<Database> OpenDatabase(const Config& config, db::PostgresSupervisor* supervisor,
                                      const std::stop_token& stop) {
  if (!config.db_url.empty()) {
    if (absl::Status status = CheckReachable(config.db_url); !status.ok()) return status;
    return Database{config.db_url, nullptr};
  }
  auto embedded =
      db::EmbeddedPostgres::Start(EmbeddedOptions(config, config.ephemeral, stop), *supervisor);
  if (!embedded.ok()) return embedded.status();
  const std::string dsn = (*embedded)->dsn();
  return Database{dsn, *std::move(embedded)};
}

db::EmbeddedPostgresOptions EmbeddedOptions(const Config& config, bool ephemeral,
                                            const std::stop_token& stop) {
  db::EmbeddedPostgresOptions defaults;
  return {.data_dir = config.data_dir,
          .ephemeral = ephemeral,
          .bin_dir = config.pg_bin_dir,
          .max_connections =
              std::max(defaults.max_connections, ConnectionsNeeded(config) + kGuestConnections),
          .settings = ParsePgSettings(config.pg_settings).value(),  // Validated by the table.
          .on_recovery = TellOfRecovery,
          .stop = stop};
}

absl::Status PrepareSchema(const Database& database, const Config& config) {
  if (database.embedded != nullptr)
    return db::Migrate(database.dsn, {.partition_count = config.partitions});
  const auto status = db::GetMigrationStatus(database.dsn, {.timeout = kConnectTimeout});
  return status.ok() ? db::CheckMigrated(*status) : status.status();
}

int ConnectionsNeeded(const Config& config) {
  return 2 * config.lanes + config.query_connections + kOtherConnections;
}

absl::Status CheckReachable(const std::string& dsn) {
  if (const auto info = db::ParseConnInfo(dsn); !info.ok())
    return absl::InvalidArgumentError(absl::StrCat("--db-url ", info.status().message()));
  return db::CheckPooling(dsn, SteadyTime::Now() + kConnectTimeout);
}

absl::Status CheckDurable(const std::string& dsn) { return Ask(dsn, db::CheckDurability); }
absl::Status CheckRights(const std::string& dsn) { return Ask(dsn, db::CheckRights); }
absl::Status CheckIntegrity(const std::string& dsn) { return Ask(dsn, db::CheckIntegrity); }
absl::Status CheckAcceptsChanges(const std::string& dsn) {
  const db::LaneReports nobody;
  db::DatabaseProbe probe({.dsn = dsn}, nobody);
  return probe.Look(SteadyTime::Now() + kConnectTimeout).status();
}
absl::Status CheckLeastPrivilege(const std::string& dsn) {
  return Ask(dsn, db::CheckLeastPrivilege);
}

absl::Status CheckCapacity(const std::string& dsn, const Config& config) {
  const absl::Status counted = Ask(dsn, [&config](db::Connection& connection, SteadyTime deadline) {
    return db::CheckCapacity(connection, ConnectionsNeeded(config), db::Connection::open_count(),
                             deadline);
  });
  const absl::Status tried =
      db::TryConnections(dsn, ConnectionsNeeded(config) - db::Connection::open_count(),
                         "sessiond doctor", SteadyTime::Now() + kConnectionsTime);
  // A pooler has limits that are not counted, and keeps connections that are.
  return tried.ok() || counted.ok() ? tried : counted;
}

absl::Status CheckSchema(const Config& config) {
  if (absl::Status migrated = PrepareSchema({config.db_url, nullptr}, config); !migrated.ok())
    return migrated;
  const absl::Status fits = CheckStatements(config.db_url);
  const std::string sqlstate = db::SqlStateOf(fits);
  if (ReasonOf(fits) != v1::SCHEMA_MISMATCH || sqlstate == "42501" ||
      db::IsAnotherSession(sqlstate))
    return fits;
  return absl::FailedPreconditionError(
      absl::StrCat("its migrations are there, but its tables were changed by hand (",
                   db::TroubleOf(fits), "): undo that, or restore a backup"));
}

absl::Status RefuseUnsafe(const absl::Status& durable, const Config& config) {
  if (durable.ok()) return absl::OkStatus();
  if (!absl::IsFailedPrecondition(durable)) return durable;
  if (config.allow_unsafe_database) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(durable.message(), "; or say --allow-unsafe-database"));
}

}  // namespace sessiond
