#include "db/migrate.h"

#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "db/migrations.h"
#include "db/sha256.h"
#include "db/sql_error.h"

namespace sessiond::db {
namespace {

constexpr int kServerVersionMin = 150000;
// "sessiond" in ASCII: the advisory lock of everybody who migrates.
//
// The lock is the transaction's, not the session's: a pooler between us and the database may give
// every transaction another session. A role's time-outs are meant for small statements, and the
// deadline holds anyway.
constexpr char kBegin[] = R"(
  BEGIN;
  SET LOCAL statement_timeout = 0;
  SET LOCAL lock_timeout = 0;
  SELECT pg_advisory_xact_lock(x'73657373696f6e64'::bigint))";
constexpr char kMakeHistory[] = R"(
  CREATE TABLE IF NOT EXISTS schema_migrations (
    version     integer     PRIMARY KEY,
    name        text        NOT NULL,
    checksum    text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
  ))";

// `0001 sessions`
std::string Title(int version, absl::string_view name) {
  return absl::StrCat(absl::Dec(version, absl::kZeroPad4), " ", name);
}

// One query's result.
absl::StatusOr<Result> Query(Connection& connection, absl::string_view sql, SteadyTime deadline,
                             absl::Span<const std::optional<std::string>> params = {}) {
  connection.QueueSql(sql, params);
  auto results = connection.Trip(deadline);
  if (!results.ok()) return results.status();
  return std::move(results->front());
}

// Can this server hold our schema at all?
absl::Status CheckServer(Connection& connection, SteadyTime deadline) {
  auto server =
      Query(connection,
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
            "current_setting('server_encoding'), pg_is_in_recovery()",
            deadline);
  if (!server.ok()) return server.status();
  if (server->Int4(0, 0) < kServerVersionMin) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database runs PostgreSQL ", server->Text(0, 1),
                     ", sessiond needs 15 or newer: upgrade it, or use another --db-url"));
  }
  if (server->Text(0, 2) != "UTF8") {
    return absl::FailedPreconditionError(
        absl::StrCat("the database's encoding is ", server->Text(0, 2),
                     ", sessiond needs UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, "
                     "and use that"));
  }
  if (server->Bool(0, 3)) {
    return absl::FailedPreconditionError(
        "the database is a standby, which cannot be written: use the primary's --db-url");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AppliedMigration>> ReadHistory(Connection& connection,
                                                          SteadyTime deadline) {
  std::vector<AppliedMigration> history;
  auto there = Query(connection, "SELECT to_regclass('schema_migrations') IS NOT NULL", deadline);
  if (!there.ok()) return there.status();
  if (!there->Bool(0, 0)) return history;
  auto rows =
      Query(connection,
            "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version",
            deadline);
  if (!rows.ok()) return rows.status();
  for (int row = 0; row < rows->rows(); ++row) {
    history.push_back({.version = rows->Int4(row, 0),
                       .name = std::string(rows->Text(row, 1)),
                       .checksum = std::string(rows->Text(row, 2)),
                       .applied_at = rows->Timestamp(row, 3)});
  }
  return history;
}

// What was applied must be what this binary begins with; what is left of it is pending.
absl::StatusOr<MigrationStatus> Compare(std::vector<AppliedMigration> history,
                                        absl::Span<const Migration> migrations) {
  const int known = migrations.empty() ? 0 : migrations.back().version;
  if (!history.empty() && history.back().version > known) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the database's schema is ", history.back().version, ", this sessiond understands ", known,
        ": run the sessiond that migrated it, or a newer one"));
  }
  for (size_t i = 0; i < history.size(); ++i) {
    const AppliedMigration& applied = history[i];
    if (i >= migrations.size() || migrations[i].version != applied.version ||
        MigrationChecksum(migrations[i].sql) != applied.checksum) {
      return absl::FailedPreconditionError(
          absl::StrCat("migration ", Title(applied.version, applied.name),
                       " was applied to the database in another form than this sessiond has it: "
                       "run the sessiond that applied it, "
                       "or use another --db-url"));
    }
  }
  migrations.remove_prefix(history.size());
  return MigrationStatus{.applied = std::move(history),
                         .pending = {migrations.begin(), migrations.end()}};
}

// The first pending migration and its history row, within the transaction that is open. True if
// there was one.
absl::StatusOr<bool> ApplyNext(Connection& connection, const MigrateOptions& options,
                               SteadyTime deadline) {
  auto history = ReadHistory(connection, deadline);
  if (!history.ok()) return history.status();
  auto status = Compare(*std::move(history), options.migrations);
  if (!status.ok()) return status.status();
  if (status->pending.empty()) return false;

  const Migration& next = status->pending.front();
  const std::string partitions = absl::StrCat(options.partition_count);
  if (auto done = Query(connection, "SELECT set_config('sessiond.partitions', $1, true)", deadline,
                        {{partitions}});
      !done.ok()) {
    return done.status();
  }
  absl::Status done = connection.Execute(absl::StrCat(kMakeHistory, ";\n", next.sql), deadline);
  if (done.ok()) {
    done = Query(connection,
                 "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1::int, $2, $3)",
                 deadline, {{absl::StrCat(next.version), next.name, MigrationChecksum(next.sql)}})
               .status();
  }
  if (done.ok()) return true;
  const std::string sqlstate = SqlStateOf(done);
  return absl::Status(
      done.code(), absl::StrCat("migration ", Title(next.version, next.name), " failed (SQLSTATE ",
                                sqlstate, ") and left nothing behind: ", done.message()));
}

// Applies one in a transaction of its own. True if there may be more.
absl::StatusOr<bool> Step(Connection& connection, const MigrateOptions& options,
                          SteadyTime deadline) {
  if (absl::Status begun = connection.Execute(kBegin, deadline); !begun.ok()) return begun;
  absl::StatusOr<bool> applied = ApplyNext(connection, options, deadline);
  const bool commit = applied.ok() && *applied;
  absl::Status ended = connection.Execute(commit ? "COMMIT" : "ROLLBACK", deadline);
  if (applied.ok() && !ended.ok()) return ended;
  return applied;
}

absl::StatusOr<std::unique_ptr<Connection>> OpenChecked(const std::string& dsn,
                                                        SteadyTime deadline) {
  auto connection =
      Connection::Open({.dsn = dsn, .application_name = "sessiond migrate"}, deadline);
  if (!connection.ok()) return connection.status();
  if (absl::Status fit = CheckServer(**connection, deadline); !fit.ok()) return fit;
  return connection;
}

}  // namespace

absl::Span<const Migration> BuiltInMigrations() { return kMigrations; }

absl::Status Migrate(const std::string& dsn, const MigrateOptions& options) {
  const SteadyTime deadline = SteadyTime::Now() + options.timeout;
  auto connection = OpenChecked(dsn, deadline);
  if (!connection.ok()) return connection.status();
  while (true) {
    absl::StatusOr<bool> more = Step(**connection, options, deadline);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
}

absl::StatusOr<MigrationStatus> GetMigrationStatus(const std::string& dsn,
                                                   const MigrateOptions& options) {
  const SteadyTime deadline = SteadyTime::Now() + options.timeout;
  auto connection = OpenChecked(dsn, deadline);
  if (!connection.ok()) return connection.status();
  auto history = ReadHistory(**connection, deadline);
  if (!history.ok()) return history.status();
  return Compare(*std::move(history), options.migrations);
}

absl::Status CheckMigrated(const MigrationStatus& status) {
  if (status.pending.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the database's schema is ", status.current(),
                                                    ", this sessiond needs ", status.needed(),
                                                    ": run `sessiond migrate up`"));
}

absl::Status CheckDurability(Connection& connection, SteadyTime deadline) {
  // synchronous_commit is every connection's own (pinned_settings.h).
  auto unsafe = Query(connection, R"(
      SELECT name || ' = ' || setting
      FROM pg_settings
      WHERE (name IN ('fsync', 'full_page_writes') AND setting = 'off')
         OR (name = 'data_sync_retry' AND setting = 'on')
      UNION ALL
      SELECT 'in recovery (a standby)' WHERE pg_is_in_recovery()
      ORDER BY 1)",
                      deadline);
  if (!unsafe.ok()) return unsafe.status();
  if (unsafe->rows() == 0) return absl::OkStatus();
  std::vector<absl::string_view> reasons;
  for (int row = 0; row < unsafe->rows(); ++row) reasons.push_back(unsafe->Text(row, 0));
  return absl::FailedPreconditionError(
      absl::StrCat("the database could lose acknowledged changes (", absl::StrJoin(reasons, ", "),
                   "): set it back to PostgreSQL's default, or use another --db-url"));
}

std::string MigrationChecksum(absl::string_view sql) {
  return Sha256Hex(absl::StrReplaceAll(sql, {{"\r\n", "\n"}}));
}

}  // namespace sessiond::db
