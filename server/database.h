// The daemon's database when it starts: opened, and checked for everything that serving needs.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/postgres/embedded_postgres.h"
#include "db/postgres/postgres_supervisor.h"
#include "server/config/config.h"

namespace sessiond {

// A database that takes longer to respond has a problem.
inline constexpr absl::Duration kConnectTimeout = absl::Seconds(10);

// What all connections of a daemon take, many times over.
inline constexpr absl::Duration kConnectionsTime = absl::Seconds(5);

// The database: the one that the configuration names, or our own, which ends with this object.
struct Database {
  std::string dsn;
  // Null for --db-url.
  std::unique_ptr<db::EmbeddedPostgres> embedded;
};

// Whether the database may let the daemon in by itself a little later: nobody answers, it is
// starting, or it has no place for another connection.
bool MayLetInLater(const absl::Status& status);

// A status, perhaps of the database, in the operator's words: with what PostgreSQL said, and a way
// out if the daemon was not let in.
std::string ToldToOperator(const absl::Status& status);

// Starts the embedded PostgreSQL if there is no --db-url. `supervisor`: null with --db-url.
// CANCELLED: it was asked to `stop` in the meantime.
absl::StatusOr<Database> OpenDatabase(const Config& config, db::PostgresSupervisor* supervisor,
                                      const std::stop_token& stop);

// Of the embedded PostgreSQL. `ephemeral`: on a directory of its own, whatever the configuration
// says.
db::EmbeddedPostgresOptions EmbeddedOptions(const Config& config, bool ephemeral,
                                            const std::stop_token& stop);

// An unmigrated database of our own is migrated; one that others may use is not, unless requested.
absl::Status PrepareSchema(const Database& database, const Config& config);

// How many connections the daemon opens.
int ConnectionsNeeded(const Config& config);

// The checks below have a connection of their own each; a message says how to fix what it names.

absl::Status CheckReachable(const std::string& dsn);
absl::Status CheckDurable(const std::string& dsn);
absl::Status CheckRights(const std::string& dsn);
absl::Status CheckIntegrity(const std::string& dsn);
// Whether it accepts a change, and has room for one on its disk.
absl::Status CheckAcceptsChanges(const std::string& dsn);
// FAILED_PRECONDITION: the role may do more than it must.
absl::Status CheckLeastPrivilege(const std::string& dsn);
absl::Status CheckCapacity(const std::string& dsn, const Config& config);
// That of --db-url.
absl::Status CheckSchema(const Config& config);

// What serve says to a database that was found to be so: of CheckDurable.
absl::Status RefuseUnsafe(const absl::Status& durable, const Config& config);

}  // namespace sessiond
