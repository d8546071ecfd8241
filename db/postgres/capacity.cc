#include "db/postgres/capacity.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace sessiond::db {
namespace {

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

}  // namespace

absl::Status CheckCapacity(Connection& connection, int needed, int own, SteadyTime deadline) {
  connection.QueueSql(kQuery);
  const auto results = connection.Trip(deadline);
  if (!results.ok()) return results.status();
  const Result& row = results->front();
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

}  // namespace sessiond::db
