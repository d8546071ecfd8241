#include "db/postgres/capacity.h"

#include <algorithm>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"

namespace sessiond::db {
namespace {

// Connections that others have just closed still count for a moment.
constexpr absl::Duration kMoment = absl::Seconds(1);
constexpr absl::Duration kRetryPeriod = absl::Milliseconds(100);
constexpr absl::Duration kCloseTime = absl::Seconds(1);

// Limits, null if there is none, and how many connections count against each. Limits of roles and
// databases do not apply to superusers. Every role may see the user and database of other backends,
// but not what they do; so backends with a user and a database count as clients.
constexpr char kQuery[] = R"(
  SELECT quote_ident(r.rolname), quote_ident(d.datname),
         CASE WHEN NOT r.rolsuper AND r.rolconnlimit >= 0 THEN r.rolconnlimit END,
         CASE WHEN NOT r.rolsuper AND d.datconnlimit >= 0 THEN d.datconnlimit END,
         current_setting('max_connections')::int
           - CASE WHEN r.rolsuper THEN 0 ELSE
               current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true)::int, 0) END,
         (count(*) FILTER (WHERE a.usesysid = r.oid))::int,
         (count(*) FILTER (WHERE a.datid = d.oid))::int,
         count(*)::int
  FROM pg_roles r
  JOIN pg_database d ON d.datname = current_database()
  JOIN pg_stat_activity a ON a.datid IS NOT NULL AND a.usesysid IS NOT NULL
  WHERE r.rolname = session_user
  GROUP BY r.rolname, r.rolsuper, r.rolconnlimit, r.oid, d.datname, d.datconnlimit, d.oid)";

// Whether a connection was not made because there are too many: PostgreSQL says so, PgBouncer
// refuses with 08P01, or has it wait until the time is `over`.
bool AreTooMany(const absl::Status& refused, bool over) {
  const std::string sqlstate = SqlStateOf(refused);
  return sqlstate == "53300" || sqlstate == "08P01" || WasAccepted(refused) ||
         (over && sqlstate != "08001");
}

absl::StatusOr<std::unique_ptr<Connection>> Try(const ConnectionOptions& options,
                                                SteadyTime deadline) {
  const SteadyTime end = std::min(deadline, SteadyTime::Now() + kMoment);
  for (;;) {
    auto connection = Connection::Open(options, deadline);
    if (connection.ok() || SteadyTime::Now() + kRetryPeriod >= end) return connection;
    absl::SleepFor(kRetryPeriod);
  }
}

}  // namespace

absl::Status CheckCapacity(Connection& connection, int needed, int own, SteadyTime deadline) {
  const auto found = connection.Query(kQuery, deadline);
  if (!found.ok()) return found.status();
  const Result& row = *found;
  if (row.rows() == 0) return absl::OkStatus();  // For example, its role was renamed.
  const std::string role(row.Text(0, 0)), database(row.Text(0, 1));
  const int wanted = std::max(0, needed - own);
  const struct {
    int limit_column, used_column;
    std::string whose, way_out;
  } limits[] = {
      {2, 5, absl::StrCat("the role ", role),
       absl::StrCat("ALTER ROLE ", role, " CONNECTION LIMIT ")},
      {3, 6, absl::StrCat("the database ", database),
       absl::StrCat("ALTER DATABASE ", database, " CONNECTION LIMIT ")},
      {4, 7, "the server", "raise max_connections by "},
  };
  for (const auto& limit : limits) {
    if (row.IsNull(0, limit.limit_column)) continue;
    const int allowed = row.Int4(0, limit.limit_column);
    const int used = row.Int4(0, limit.used_column);
    const int missing = wanted - (allowed - used);
    if (missing <= 0) continue;
    const bool server = limit.limit_column == 4;
    return absl::FailedPreconditionError(absl::StrCat(
        "a daemon needs ", needed, " connections, has ", own, " of them, and of ", limit.whose,
        "'s ", allowed, " only ", std::max(0, allowed - used), " are left: ", limit.way_out,
        server ? missing : allowed + missing, ", or lower --lanes and --query-connections"));
  }
  return absl::OkStatus();
}

absl::Status TryConnections(const std::string& dsn, int count, absl::string_view application_name,
                            SteadyTime deadline) {
  if (count <= 0) return absl::OkStatus();
  const ConnectionOptions options = {.dsn = dsn, .application_name = std::string(application_name)};
  std::vector<absl::StatusOr<std::unique_ptr<Connection>>> opened(count);
  std::vector<std::thread> threads;
  for (auto& connection : opened) {
    const auto open = [&connection, &options, deadline] { connection = Try(options, deadline); };
    try {
      threads.emplace_back(open);
    } catch (const std::system_error&) {  // There is no thread for it.
      open();
    }
  }
  for (std::thread& thread : threads) thread.join();
  const bool over = SteadyTime::Now() >= deadline;
  // Whoever asks opens connections next.
  const SteadyTime closed_by = SteadyTime::Now() + kCloseTime;
  for (auto& connection : opened) {
    if (connection.ok()) (*connection)->CloseAndWait(closed_by);
  }
  const auto refused = std::find_if(opened.begin(), opened.end(),
                                    [](const auto& connection) { return !connection.ok(); });
  if (refused == opened.end()) return absl::OkStatus();
  if (!AreTooMany(refused->status(), over)) return refused->status();
  const auto let_in = std::count_if(opened.begin(), opened.end(),
                                    [](const auto& connection) { return connection.ok(); });
  return absl::FailedPreconditionError(absl::StrCat(
      "of the ", count, " connections that the daemon needs at once, ", let_in, " were let in (",
      TroubleOf(refused->status()),
      "): raise what limits them; of PgBouncer default_pool_size, max_db_connections and "
      "max_client_conn, of PostgreSQL max_connections"));
}

}  // namespace sessiond::db
