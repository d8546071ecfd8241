#include "db/postgres/migrate.h"

#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "db/base/failpoint.h"
#include "db/base/sha256.h"
#include "db/connection/sql_error.h"
#include "db/migrations/migrations.h"

namespace sessiond::db {
namespace {

constexpr int kServerVersionMin = 150000;
// "sessiond" in ASCII: the advisory lock of all migrating daemons.
//
// The lock belongs to the transaction, not to the session: a pooler between us and the database may
// give every transaction another session. A role's timeouts are switched off: they are meant for
// small statements, and the deadline applies anyway.
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

// The schema of the connection's path (pinned_settings.h), and what the role may do there; nulls if
// there is no schema of that name.
constexpr char kPlace[] = R"(
  SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE'),
         has_schema_privilege(n.oid, 'CREATE'), quote_ident(current_user),
         quote_ident(current_database()), pg_get_userbyid(n.nspowner)::text,
         split_part(current_setting('search_path'), ', pg_temp', 1)
  FROM (VALUES (1)) AS one (row)
  LEFT JOIN pg_namespace n
    ON quote_ident(n.nspname) || ', pg_temp' = current_setting('search_path'))";
// In which other schema our tables are. Every role may read the catalogs.
constexpr char kElsewhere[] = R"(
  SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE'), quote_ident(current_user),
         pg_get_userbyid(n.nspowner)::text, quote_ident(current_database())
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = 'database_identity' AND c.relkind = 'r'
    AND n.nspname IS DISTINCT FROM current_schema()
  ORDER BY n.nspname
  LIMIT 1)";
// About the table that `schema_migrations` names here: how many of our columns it has, and whether
// it may be read.
constexpr char kHistory[] = R"(
  SELECT count(*) FILTER (WHERE a.attname IN ('version', 'name', 'checksum', 'applied_at'))::int,
         has_table_privilege(a.attrelid, 'SELECT')
  FROM pg_attribute a
  WHERE a.attrelid = to_regclass('schema_migrations') AND a.attnum > 0 AND NOT a.attisdropped
  GROUP BY a.attrelid)";

constexpr absl::string_view kOwnPlace =
    "give sessiond a database of its own, or a schema of its own that the role's search_path names";

// `on`, if transactions are read-only unless they say otherwise, and where that was set; nothing if
// they are not.
constexpr char kReadOnly[] = R"(
  SELECT source, quote_ident(current_user), quote_ident(current_database())
  FROM pg_settings
  WHERE name = 'default_transaction_read_only' AND setting = 'on')";

// Nothing could be written; reads would succeed, so that it would show only later.
absl::Status CheckWritable(Connection& connection, SteadyTime deadline) {
  const auto asked = connection.Query(kReadOnly, deadline);
  if (!asked.ok()) return asked.status();
  if (asked->rows() == 0) return absl::OkStatus();
  const absl::string_view source = asked->Text(0, 0), role = asked->Text(0, 1),
                          database = asked->Text(0, 2);
  std::string way_out =
      "ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf()";
  if (source == "user") {
    way_out = absl::StrCat("ALTER ROLE ", role, " RESET default_transaction_read_only");
  } else if (source == "database") {
    way_out = absl::StrCat("ALTER DATABASE ", database, " RESET default_transaction_read_only");
  } else if (source == "database user") {
    way_out = absl::StrCat("ALTER ROLE ", role, " IN DATABASE ", database,
                           " RESET default_transaction_read_only");
  } else if (source == "client") {
    way_out = "take it out of the options in --db-url";
  } else if (source == "command line") {
    way_out = "take it off the command line that starts PostgreSQL";
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the database is read-only, because default_transaction_read_only is on: ", way_out));
}

// Whether this server can have our schema at all.
absl::Status CheckServer(Connection& connection, SteadyTime deadline) {
  auto server = connection.Query(
      "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
      "current_setting('server_encoding'), pg_is_in_recovery(), "
      "current_setting('session_replication_role'), quote_ident(current_user)",
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
  if (server->Text(0, 4) != "origin") {
    return absl::FailedPreconditionError(absl::StrCat(
        "session_replication_role is ", server->Text(0, 4),
        ", so that nothing would keep the audit from being changed: ALTER ROLE ",
        server->Text(0, 5), " RESET session_replication_role, or the same of the database"));
  }
  return CheckWritable(connection, deadline);
}

absl::StatusOr<std::vector<AppliedMigration>> ReadHistory(Connection& connection,
                                                          SteadyTime deadline) {
  std::vector<AppliedMigration> history;
  auto there = connection.Query(kHistory, deadline);
  if (!there.ok()) return there.status();
  if (there->rows() == 0) return history;
  if (there->Int4(0, 0) < 4) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the table schema_migrations is there and another application's: ", kOwnPlace));
  }
  if (!there->Bool(0, 1)) {
    const absl::Status rights = CheckRights(connection, deadline);
    if (!rights.ok()) return rights;
  }
  auto rows = connection.Query(
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

// If nothing is applied, our tables may still exist: in a schema outside this role's search path.
absl::Status CheckElsewhere(Connection& connection, SteadyTime deadline) {
  const auto elsewhere = connection.Query(kElsewhere, deadline);
  if (!elsewhere.ok()) return elsewhere.status();
  if (elsewhere->rows() == 0) return absl::OkStatus();
  const absl::string_view schema = elsewhere->Text(0, 0), role = elsewhere->Text(0, 2);
  if (!elsewhere->Bool(0, 1)) {
    return absl::FailedPreconditionError(
        absl::StrCat("sessiond's tables are in the schema ", schema, ", which the role ", role,
                     " may not use: as its owner, ", elsewhere->Text(0, 3),
                     ", run: GRANT USAGE ON SCHEMA ", schema, " TO ", role));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "sessiond's tables are in the schema ", schema, ", and the search_path of the role ", role,
      " leads elsewhere: ALTER ROLE ", role, " IN DATABASE ", elsewhere->Text(0, 4),
      " SET search_path = ", schema, ", or give the role a database of its own"));
}

// Whether this role may create tables where they belong.
absl::Status CheckPlace(Connection& connection, SteadyTime deadline) {
  const auto place = connection.Query(kPlace, deadline);
  if (!place.ok()) return place.status();
  const absl::string_view role = place->Text(0, 3);
  if (place->IsNull(0, 0)) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no schema ", place->Text(0, 6),
                     " to make the tables in: CREATE SCHEMA ", place->Text(0, 6), " AUTHORIZATION ",
                     role, ", or ALTER ROLE ", role, " SET search_path to another one"));
  }
  if (place->Bool(0, 1) && place->Bool(0, 2)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the role ", role, " may not make tables in the schema ", place->Text(0, 0),
                   ": as its owner, ", place->Text(0, 5), ", run: GRANT USAGE, CREATE ON SCHEMA ",
                   place->Text(0, 0), " TO ", role, "; or migrate as a role that may"));
}

// The applied migrations must be the first ones of this binary; the rest is pending.
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
                       "run the sessiond that applied it, or use another --db-url"));
    }
  }
  migrations.remove_prefix(history.size());
  return MigrationStatus{.applied = std::move(history),
                         .pending = {migrations.begin(), migrations.end()}};
}

// How to fix a migration's error. PostgreSQL's own text says what is wrong.
std::string WhyAMigrationFails(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  const std::string trouble = TroubleOf(status);
  if (trouble.empty()) return std::string(status.message());
  // A table, a type, a function.
  if (sqlstate == "42P07" || sqlstate == "42710" || sqlstate == "42723") {
    return absl::StrCat(trouble, ", and is not sessiond's: ", kOwnPlace);
  }
  if (sqlstate == "42501") {
    return absl::StrCat(trouble,
                        ": migrate as the role that owns the tables, or as a member of it");
  }
  return trouble;
}

// The first pending migration and its history row, in the open transaction. True if there was one.
absl::StatusOr<bool> ApplyNext(Connection& connection, const MigrateOptions& options,
                               SteadyTime deadline) {
  auto history = ReadHistory(connection, deadline);
  if (!history.ok()) return history.status();
  if (history->empty()) {
    if (absl::Status none = CheckElsewhere(connection, deadline); !none.ok()) return none;
  }
  auto status = Compare(*std::move(history), options.migrations);
  if (!status.ok()) return status.status();
  if (status->pending.empty()) return false;

  if (absl::Status may = CheckPlace(connection, deadline); !may.ok()) return may;

  const Migration& next = status->pending.front();
  const std::string partitions = absl::StrCat(options.partition_count);
  if (auto done = connection.Query("SELECT set_config('sessiond.partitions', $1, true)", deadline,
                                   {{partitions}});
      !done.ok()) {
    return done.status();
  }
  absl::Status done = connection.Execute(absl::StrCat(kMakeHistory, ";\n", next.sql), deadline);
  if (done.ok()) {
    done =
        connection
            .Query(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1::int, $2, $3)",
                deadline, {{absl::StrCat(next.version), next.name, MigrationChecksum(next.sql)}})
            .status();
  }
  if (done.ok()) return true;
  return absl::Status(
      done.code(),
      absl::StrCat("migration ", Title(next.version, next.name), " failed (SQLSTATE ",
                   SqlStateOf(done), ") and left nothing behind: ", WhyAMigrationFails(done)));
}

// Applies one in a transaction of its own. True if there may be more.
absl::StatusOr<bool> Step(Connection& connection, const MigrateOptions& options,
                          SteadyTime deadline) {
  if (absl::Status begun = connection.Execute(kBegin, deadline); !begun.ok()) return begun;
  absl::StatusOr<bool> applied = ApplyNext(connection, options, deadline);
  const bool commit = applied.ok() && *applied;
  if (commit) Reached(Failpoint::kMigrationApplied);
  absl::Status ended = connection.Execute(commit ? "COMMIT" : "ROLLBACK", deadline);
  if (applied.ok() && !ended.ok()) return ended;
  if (commit) Reached(Failpoint::kMigrationCommitted);
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
  if (history->empty()) {
    if (absl::Status none = CheckElsewhere(**connection, deadline); !none.ok()) return none;
  }
  return Compare(*std::move(history), options.migrations);
}

absl::Status CheckMigrated(const MigrationStatus& status) {
  if (status.pending.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the database's schema is ", status.current(),
                                                    ", this sessiond needs ", status.needed(),
                                                    ": run `sessiond migrate up`"));
}

absl::Status CheckGrantee(const std::string& dsn, const std::string& role,
                          const MigrateOptions& options) {
  const SteadyTime deadline = SteadyTime::Now() + options.timeout;
  auto connection = OpenChecked(dsn, deadline);
  if (!connection.ok()) return connection.status();
  return CheckGrantee(**connection, role, deadline);
}

absl::StatusOr<GrantReport> GrantRights(const std::string& dsn, const std::string& role,
                                        const MigrateOptions& options) {
  const SteadyTime deadline = SteadyTime::Now() + options.timeout;
  auto connection = OpenChecked(dsn, deadline);
  if (!connection.ok()) return connection.status();
  // With the lock: of two that grant at once, one would fail.
  if (absl::Status begun = (*connection)->Execute(kBegin, deadline); !begun.ok()) return begun;
  auto report = GrantRights(**connection, role, deadline);
  const absl::Status ended = (*connection)->Execute(report.ok() ? "COMMIT" : "ROLLBACK", deadline);
  if (report.ok() && !ended.ok()) return ended;
  return report;
}

std::string MigrationChecksum(absl::string_view sql) {
  return Sha256Hex(absl::StrReplaceAll(sql, {{"\r\n", "\n"}}));
}

}  // namespace sessiond::db
