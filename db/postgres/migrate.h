// Brings the schema to where this binary needs it. A migration is a numbered SQL file
// (db/migrations/migrations); each runs in one transaction together with its row in
// `schema_migrations`, so that it is applied completely or not at all, and no half-applied state
// ever needs manual repair. Any number of daemons may migrate at once: an advisory lock lets one
// proceed at a time.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"
#include "db/connection/statement.h"
#include "db/postgres/rights.h"

namespace sessiond::db {

// Those of this binary, in order.
absl::Span<const Migration> BuiltInMigrations();

struct MigrateOptions {
  // 64: enough to spread over a distributed database later, and almost free until then. It is
  // chosen when the schema is made and never changes: a migrated database retains its own.
  int partition_count = 64;
  absl::Span<const Migration> migrations = BuiltInMigrations();
  // For everything, including the wait for another daemon's migration.
  absl::Duration timeout = absl::Minutes(10);
};

struct AppliedMigration {
  int version = 0;
  std::string name;
  std::string checksum;
  absl::Time applied_at;
};

struct MigrationStatus {
  std::vector<AppliedMigration> applied;
  std::vector<Migration> pending;

  // 0: no schema yet.
  int current() const { return applied.empty() ? 0 : applied.back().version; }
  int needed() const { return pending.empty() ? current() : pending.back().version; }
};

// Applies what is pending; nothing, if nothing is. FAILED_PRECONDITION, with nothing changed: the
// server is older than PostgreSQL 15, not UTF-8, a standby, read-only, or lets the audit be
// changed; the role lacks a right; a name is taken, or the tables are in another schema; the schema
// is newer than this binary; an applied migration differs from this binary's. A migration that
// fails leaves nothing behind, and its error names it. UNAVAILABLE: no database.
absl::Status Migrate(const std::string& dsn, const MigrateOptions& options = {});

// What is applied and what is pending; changes nothing. FAILED_PRECONDITION as for Migrate.
absl::StatusOr<MigrationStatus> GetMigrationStatus(const std::string& dsn,
                                                   const MigrateOptions& options = {});

// OK if nothing is pending; else FAILED_PRECONDITION with the command to run.
absl::Status CheckMigrated(const MigrationStatus& status);

// Whether the role may be given the daemon's rights (rights.h): to be asked before migrating.
absl::Status CheckGrantee(const std::string& dsn, const std::string& role,
                          const MigrateOptions& options = {});

// Gives them to it, and takes from it what is more. Whole or not at all; one daemon at a time.
// REQUIRES: the schema is migrated.
absl::StatusOr<GrantReport> GrantRights(const std::string& dsn, const std::string& role,
                                        const MigrateOptions& options = {});

// SHA-256 of a migration's SQL, the same whether its lines end in LF or CRLF.
std::string MigrationChecksum(absl::string_view sql);

}  // namespace sessiond::db
