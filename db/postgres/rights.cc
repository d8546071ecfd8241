#include "db/postgres/rights.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace sessiond::db {
namespace {

struct Needed {
  absl::string_view table;
  absl::string_view privileges;
};

// Events are never changed. database_identity is locked, which requires the right to change it.
// clang-format off
constexpr Needed kNeeded[] = {
    {"database_identity", "SELECT, UPDATE"},
    {"error_patterns",    "SELECT, INSERT, UPDATE"},
    {"partitions",        "SELECT, UPDATE"},
    {"schema_migrations", "SELECT"},
    {"session_artifacts", "SELECT, INSERT, UPDATE, DELETE"},
    {"session_errors",    "SELECT, INSERT, UPDATE, DELETE"},
    {"session_events",    "SELECT, INSERT, DELETE"},
    {"session_messages",  "SELECT, INSERT, DELETE"},
    {"session_requests",  "SELECT, INSERT, UPDATE, DELETE"},
    {"session_tasks",     "SELECT, INSERT, UPDATE, DELETE"},
    {"sessions",          "SELECT, INSERT, UPDATE, DELETE"},
    {"tombstones",        "SELECT, INSERT, UPDATE"},
    {"workflows",         "SELECT, INSERT"},
};
// clang-format on

// For each existing table, if the tables are ours: the missing rights, in the order of kNeeded,
// whether rows would be hidden, and who may grant. Rights on other tables of the same names are not
// proposed.
std::string Query() {
  std::vector<std::string> rows;
  for (const auto& [table, privileges] : kNeeded)
    rows.push_back(absl::StrCat("('", table, "', '", privileges, "')"));
  return absl::StrCat(
      "SELECT quote_ident(n.name), (SELECT string_agg(p, ', ' ORDER BY position) "
      "FROM unnest(string_to_array(n.privileges, ', ')) WITH ORDINALITY AS u (p, position) "
      "WHERE NOT has_table_privilege(c.oid, p)), row_security_active(c.oid), "
      "pg_get_userbyid(c.relowner)::text, quote_ident(current_user) "
      "FROM (VALUES ",
      absl::StrJoin(rows, ", "),
      ") AS n (name, privileges) JOIN pg_class c ON c.oid = to_regclass(n.name) "
      "WHERE to_regclass('database_identity') IS NOT NULL ORDER BY n.name");
}

}  // namespace

absl::Status CheckRights(Connection& connection, SteadyTime deadline) {
  connection.QueueSql(Query());
  const auto results = connection.Trip(deadline);
  if (!results.ok()) return results.status();
  const Result& rows = results->front();
  // Tables by missing rights.
  std::map<std::string, std::vector<std::string>> missing;
  std::vector<std::string> hidden;
  for (int row = 0; row < rows.rows(); ++row) {
    const std::string table(rows.Text(row, 0));
    if (!rows.IsNull(row, 1)) missing[std::string(rows.Text(row, 1))].push_back(table);
    if (rows.Bool(row, 2)) hidden.push_back(table);
  }
  if (missing.empty() && hidden.empty()) return absl::OkStatus();
  const absl::string_view owner = rows.Text(0, 3), role = rows.Text(0, 4);
  if (!missing.empty()) {
    std::vector<std::string> grants;
    for (const auto& [privileges, tables] : missing) {
      grants.push_back(
          absl::StrCat("GRANT ", privileges, " ON ", absl::StrJoin(tables, ", "), " TO ", role));
    }
    return absl::FailedPreconditionError(absl::StrCat("the role ", role,
                                                      " lacks rights: as the owner, ", owner,
                                                      ", run: ", absl::StrJoin(grants, "; ")));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "row level security hides rows of ", absl::StrJoin(hidden, ", "), " from the role ", role,
      ": ALTER ROLE ", role, " BYPASSRLS, or take it off these tables"));
}

}  // namespace sessiond::db
