#include "db/postgres/rights.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "db/connection/sql_error.h"

namespace sessiond::db {
namespace {

struct Needed {
  absl::string_view table;
  absl::string_view privileges;
};

// Events are never changed; a trigger lets only those be removed whose session is archived or
// erased (db/migrations/0001_sessions.sql). database_identity is locked, which requires the right
// to change it.
// clang-format off
constexpr Needed kNeeded[] = {
    {"database_identity", "SELECT, UPDATE"},
    {"error_patterns",    "SELECT, INSERT, UPDATE"},
    {"partitions",        "SELECT, UPDATE"},
    {"schema_migrations", "SELECT"},
    {"session_artifacts", "SELECT, INSERT, DELETE"},
    {"session_errors",    "SELECT, INSERT, UPDATE, DELETE"},
    {"session_events",    "SELECT, INSERT, DELETE"},
    {"session_messages",  "SELECT, INSERT, DELETE"},
    {"session_requests",  "SELECT, INSERT, DELETE"},
    {"session_tasks",     "SELECT, INSERT, UPDATE, DELETE"},
    {"sessions",          "SELECT, INSERT, UPDATE, DELETE"},
    {"tombstones",        "SELECT, INSERT, UPDATE"},
    {"workflows",         "SELECT, INSERT"},
};
// clang-format on

// The table as an expression of SQL: n (name, privileges), joined with our tables as c.
std::string FromNeeded() {
  std::vector<std::string> rows;
  for (const auto& [table, privileges] : kNeeded)
    rows.push_back(absl::StrCat("('", table, "', '", privileges, "')"));
  return absl::StrCat("FROM (VALUES ", absl::StrJoin(rows, ", "),
                      ") AS n (name, privileges) JOIN pg_class c ON c.oid = to_regclass(n.name) ");
}

// For each existing table, if the tables are ours: the missing rights, in the order of kNeeded,
// whether rows would be hidden, and who may grant. Rights on other tables of the same names are not
// proposed.
std::string MissingSql() {
  return absl::StrCat(
      "SELECT quote_ident(n.name), (SELECT string_agg(p, ', ' ORDER BY position) "
      "FROM unnest(string_to_array(n.privileges, ', ')) WITH ORDINALITY AS u (p, position) "
      "WHERE NOT has_table_privilege(c.oid, p)), row_security_active(c.oid), "
      "pg_get_userbyid(c.relowner)::text, quote_ident(current_user) ",
      FromNeeded(), "WHERE to_regclass('database_identity') IS NOT NULL ORDER BY n.name");
}

// What the role $1 may do beyond the table, and by whom: a row for each grantee, set of privileges
// and list of tables. A grantee is the role itself, PUBLIC (null), or a role that it is a member
// of; PostgreSQL's own pg_write_all_data is in no list of grants.
std::string ExcessSql() {
  return absl::StrCat(
      R"(
      WITH held AS (
        SELECT n.name, n.privileges, g.grantee, g.privilege_type AS privilege )",
      FromNeeded(), R"(
        CROSS JOIN LATERAL (
          SELECT x.grantee, x.privilege_type FROM aclexplode(c.relacl) x
          UNION
          SELECT x.grantee, x.privilege_type
          FROM pg_attribute a, aclexplode(a.attacl) x
          WHERE a.attrelid = c.oid
          UNION
          SELECT w.oid, p.privilege
          FROM pg_roles w, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
          WHERE w.rolname = 'pg_write_all_data') AS g),
      excess AS (
        SELECT h.grantee, h.name,
               string_agg(h.privilege, ', ' ORDER BY h.privilege) AS privileges
        FROM held h, pg_roles r
        WHERE r.rolname::text = $1
          AND h.privilege <> ALL (string_to_array(h.privileges, ', '))
          AND (h.grantee = 0 OR pg_has_role(r.oid, h.grantee, 'MEMBER'))
        GROUP BY h.grantee, h.name)
      SELECT CASE WHEN e.grantee <> 0 THEN quote_ident(pg_get_userbyid(e.grantee)) END,
             e.grantee <> 0 AND pg_get_userbyid(e.grantee)::text = $1,
             e.privileges, string_agg(e.name, ', ' ORDER BY e.name)
      FROM excess e
      GROUP BY e.grantee, e.privileges
      ORDER BY 2 DESC, 1, 3)");
}

// The role $1: whether it is a superuser, and the first thing that it owns, with the owner: itself,
// or a role that it is a member of. Who migrates will own the tables. `public` belongs to whoever
// owns the database.
std::string StandingSql() {
  return absl::StrCat(
      R"(
      SELECT quote_ident(r.rolname), r.rolsuper, owned.thing, quote_ident(owned.owner),
             owned.owner = r.rolname, r.rolcanlogin,
             has_database_privilege(r.oid, current_database(), 'CONNECT'),
             quote_ident(current_database())
      FROM pg_roles r
      LEFT JOIN LATERAL (
        SELECT o.thing, pg_get_userbyid(o.owner) AS owner
        FROM (
          SELECT 1, 'the database ' || quote_ident(d.datname), d.datdba
          FROM pg_database d
          WHERE d.datname = current_database()
          UNION ALL
          SELECT 2, 'the schema ' || quote_ident(n.nspname), n.nspowner
          FROM pg_namespace n
          WHERE quote_ident(n.nspname) || ', pg_temp' = current_setting('search_path')
          UNION ALL
          SELECT 3, 'the table ' || n.name, c.relowner )",
      FromNeeded(), R"(
        ) AS o (rank, thing, owner)
        WHERE pg_has_role(r.oid, o.owner, 'MEMBER')
        ORDER BY o.rank, o.thing
        LIMIT 1) AS owned ON true
      WHERE r.rolname::text = $1)");
}

constexpr char kCurrentRole[] = "SELECT current_user::text";

// Why there is no such role, and what to type: how SQL writes the name, another that differs only
// in capitals, and how long names may be.
constexpr char kNoRole[] = R"(
  SELECT quote_ident($1::text),
         (SELECT min(rolname)::text FROM pg_roles WHERE lower(rolname) = lower($1::text)),
         octet_length($1::text), current_setting('max_identifier_length')::int)";

// Whether this connection's role may grant: who owns a table that it is no member of; about the
// schema, its name, whether the role may pass its use on, and what $1 may do there.
std::string MayGrantSql() {
  return absl::StrCat("SELECT quote_ident(current_user), (SELECT min(quote_ident(o.rolname)) ",
                      FromNeeded(),
                      R"(
        JOIN pg_roles o ON o.oid = c.relowner
        WHERE NOT pg_has_role(c.relowner, 'USAGE')),
      quote_ident(s.nspname), has_schema_privilege(s.oid, 'USAGE WITH GRANT OPTION'),
      has_schema_privilege(r.oid, s.oid, 'USAGE'),
      EXISTS (SELECT FROM aclexplode(s.nspacl) x
              WHERE x.grantee = r.oid AND x.privilege_type = 'CREATE'),
      pg_get_userbyid(s.nspowner)::text
    FROM pg_namespace s, pg_roles r
    WHERE quote_ident(s.nspname) || ', pg_temp' = current_setting('search_path')
      AND r.rolname::text = $1)");
}

// A word as a shell reads it.
std::string ShellWord(absl::string_view word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
  });
  if (plain && word[0] != '-') return std::string(word);
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string AllTables() {
  return absl::StrJoin(kNeeded, ", ", [](std::string* out, const Needed& needed) {
    absl::StrAppend(out, needed.table);
  });
}

// By privileges, the tables.
std::map<absl::string_view, std::vector<absl::string_view>> Groups() {
  std::map<absl::string_view, std::vector<absl::string_view>> groups;
  for (const auto& [table, privileges] : kNeeded) groups[privileges].push_back(table);
  return groups;
}

// More rights than the table says, of one grantee.
struct Excess {
  // Empty: PUBLIC.
  std::string grantee;
  bool direct = false;
  std::string privileges;
  std::string tables;
};

absl::StatusOr<std::vector<Excess>> FindExcess(Connection& connection, absl::string_view role,
                                               SteadyTime deadline) {
  const auto rows = connection.Query(ExcessSql(), deadline, {{std::string(role)}});
  if (!rows.ok()) return rows.status();
  std::vector<Excess> found;
  for (int row = 0; row < rows->rows(); ++row) {
    found.push_back({.grantee = rows->IsNull(row, 0) ? "" : std::string(rows->Text(row, 0)),
                     .direct = rows->Bool(row, 1),
                     .privileges = std::string(rows->Text(row, 2)),
                     .tables = std::string(rows->Text(row, 3))});
  }
  return found;
}

std::string Describe(const Excess& excess) {
  const std::string by = excess.direct            ? ""
                         : excess.grantee.empty() ? ", as PUBLIC may"
                                                  : absl::StrCat(", as ", excess.grantee, " may");
  return absl::StrCat(excess.privileges, " on ", excess.tables, by);
}

std::string Describe(absl::Span<const Excess> excess) {
  return absl::StrJoin(excess, "; ", [](std::string* out, const Excess& each) {
    absl::StrAppend(out, Describe(each));
  });
}

// The statements that take away what a grant to the role itself is not the cause of.
std::string Remedies(absl::Span<const Excess> excess, absl::string_view role) {
  std::vector<std::string> statements;
  for (const Excess& each : excess) {
    std::string statement;
    if (each.grantee.empty()) {
      statement = absl::StrCat("REVOKE ", each.privileges, " ON ", each.tables, " FROM PUBLIC");
    } else if (!each.direct) {
      statement = absl::StrCat("REVOKE ", each.grantee, " FROM ", role);
    } else {
      statement = absl::StrCat("REVOKE ", each.privileges, " ON ", each.tables, " FROM ", role);
    }
    if (std::find(statements.begin(), statements.end(), statement) == statements.end())
      statements.push_back(statement);
  }
  return absl::StrJoin(statements, "; ");
}

// How a role stands to the database, before any rights.
struct Standing {
  std::string role;
  // Why rights do not bind it; empty if they do.
  std::string unbound;
  bool may_log_in = false, may_connect = false;
  std::string database;
};

// Nothing: there is no such role.
absl::StatusOr<std::optional<Standing>> FindStanding(Connection& connection, absl::string_view role,
                                                     SteadyTime deadline) {
  const auto rows = connection.Query(StandingSql(), deadline, {{std::string(role)}});
  if (!rows.ok()) return rows.status();
  if (rows->rows() == 0) return std::nullopt;
  Standing standing{.role = std::string(rows->Text(0, 0)),
                    .may_log_in = rows->Bool(0, 5),
                    .may_connect = rows->Bool(0, 6),
                    .database = std::string(rows->Text(0, 7))};
  if (rows->Bool(0, 1)) {
    standing.unbound = "is a superuser, whom no missing right holds back";
  } else if (!rows->IsNull(0, 2)) {
    const absl::string_view thing = rows->Text(0, 2), owner = rows->Text(0, 3);
    standing.unbound = absl::StrCat(
        rows->Bool(0, 4) ? "owns " : absl::StrCat("is a member of ", owner, ", which owns "), thing,
        ", and so can change or drop the audit");
  }
  return standing;
}

absl::Status NoSuchRole(Connection& connection, absl::string_view role, SteadyTime deadline) {
  const std::string name(role);
  if (name == "public" || name == "PUBLIC") {
    return absl::FailedPreconditionError(
        "--grant-to public would let everybody in: name the role that the daemon connects as");
  }
  if (name.empty()) {
    return absl::FailedPreconditionError(
        "--grant-to '': this is no name: say the role that the daemon connects as");
  }
  const auto answer = connection.Query(kNoRole, deadline, {{name}});
  if (!answer.ok()) return answer.status();
  if (answer->Int4(0, 2) > answer->Int4(0, 3)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--grant-to ", name, ": a role's name has at most ", answer->Int4(0, 3),
                     " bytes, and this has ", answer->Int4(0, 2)));
  }
  const std::string other = answer->IsNull(0, 1)
                                ? ""
                                : absl::StrCat("; or did you mean --grant-to ",
                                               ShellWord(answer->Text(0, 1)), "? Capitals count");
  return absl::FailedPreconditionError(
      absl::StrCat("--grant-to ", ShellWord(name), ": there is no such role: CREATE ROLE ",
                   answer->Text(0, 0), " LOGIN PASSWORD '…'", other));
}

absl::StatusOr<Standing> FindGrantee(Connection& connection, absl::string_view role,
                                     SteadyTime deadline) {
  auto standing = FindStanding(connection, role, deadline);
  if (!standing.ok()) return standing.status();
  if (!standing->has_value()) return NoSuchRole(connection, role, deadline);
  std::string unbound = (*standing)->unbound;
  if (unbound.empty()) {
    // The tables that are made now will belong to this connection's role.
    const auto me = connection.Query(
        "SELECT quote_ident(current_user), "
        "pg_has_role(r.oid, current_user, 'MEMBER'), r.rolname = current_user "
        "FROM pg_roles r WHERE r.rolname::text = $1",
        deadline, {{std::string(role)}});
    if (!me.ok()) return me.status();
    if (me->rows() == 1 && me->Bool(0, 1)) {
      unbound = absl::StrCat("is ", me->Bool(0, 2) ? "" : "a member of ", me->Text(0, 0),
                             ", the role that migrates, and so will own the tables");
    }
  }
  if (unbound.empty()) return **std::move(standing);
  return absl::FailedPreconditionError(absl::StrCat(
      "--grant-to ", ShellWord(role), ": this role ", unbound,
      ": name one that owns nothing here, for example after CREATE ROLE sessiond_daemon LOGIN"));
}

}  // namespace

absl::Status CheckRights(Connection& connection, SteadyTime deadline) {
  const auto asked = connection.Query(MissingSql(), deadline);
  if (!asked.ok()) return asked.status();
  const Result& rows = *asked;
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

absl::Status CheckLeastPrivilege(Connection& connection, SteadyTime deadline) {
  const auto me = connection.Query(kCurrentRole, deadline);
  if (!me.ok()) return me.status();
  const std::string name(me->Text(0, 0));
  const auto standing = FindStanding(connection, name, deadline);
  if (!standing.ok()) return standing.status();
  if (!standing->has_value()) return absl::OkStatus();  // For example, it was just renamed.
  const std::string& role = (*standing)->role;
  if (!(*standing)->unbound.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the role ", role, " ", (*standing)->unbound,
        ": CREATE ROLE sessiond_daemon LOGIN, let the tables' owner run `sessiond migrate up "
        "--grant-to sessiond_daemon`, and let the daemon connect as that role"));
  }
  const auto excess = FindExcess(connection, name, deadline);
  if (!excess.ok()) return excess.status();
  if (excess->empty()) return absl::OkStatus();
  std::vector<Excess> others;
  for (const Excess& each : *excess) {
    if (!each.direct) others.push_back(each);
  }
  const std::string before = others.empty() ? "" : absl::StrCat(Remedies(others, role), "; and ");
  return absl::FailedPreconditionError(absl::StrCat(
      "the role ", role, " has rights that it does not need (", Describe(*excess), "): ", before,
      "let the tables' owner run `sessiond migrate up --grant-to ", ShellWord(name), "`"));
}

absl::Status CheckGrantee(Connection& connection, absl::string_view role, SteadyTime deadline) {
  return FindGrantee(connection, role, deadline).status();
}

absl::StatusOr<GrantReport> GrantRights(Connection& connection, absl::string_view name,
                                        SteadyTime deadline) {
  const auto grantee = FindGrantee(connection, name, deadline);
  if (!grantee.ok()) return grantee.status();
  const std::string& role = grantee->role;
  const auto may = connection.Query(MayGrantSql(), deadline, {{std::string(name)}});
  if (!may.ok()) return may.status();
  if (may->rows() == 0) return absl::AbortedError("the role was renamed meanwhile: try again");
  if (!may->IsNull(0, 1)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the role ", may->Text(0, 0), " may not grant rights on tables that ",
                     may->Text(0, 1), " owns: migrate as ", may->Text(0, 1)));
  }
  const std::string schema(may->Text(0, 2));
  const bool grants_schema = may->Bool(0, 3);
  if (!grants_schema && !may->Bool(0, 4)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the role ", may->Text(0, 0), " may not let others use the schema ", schema,
                     ": as its owner, ", may->Text(0, 6), ", run: GRANT USAGE ON SCHEMA ", schema,
                     " TO ", role));
  }
  const auto before = FindExcess(connection, name, deadline);
  if (!before.ok()) return before.status();

  GrantReport report{.role = role};
  std::vector<std::string> statements = {
      absl::StrCat("REVOKE ALL ON ", AllTables(), " FROM ", role)};
  for (const Excess& each : *before) {
    if (each.direct) report.revoked.push_back(Describe(each));
  }
  if (may->Bool(0, 5) && grants_schema) {
    statements.push_back(absl::StrCat("REVOKE CREATE ON SCHEMA ", schema, " FROM ", role));
    report.revoked.push_back(absl::StrCat("CREATE on the schema ", schema));
  }
  if (grants_schema)
    statements.push_back(absl::StrCat("GRANT USAGE ON SCHEMA ", schema, " TO ", role));
  report.granted.push_back(absl::StrCat("USAGE on the schema ", schema));
  for (const auto& [privileges, tables] : Groups()) {
    const std::string list = absl::StrJoin(tables, ", ");
    statements.push_back(absl::StrCat("GRANT ", privileges, " ON ", list, " TO ", role));
    report.granted.push_back(absl::StrCat(privileges, " on ", list));
  }
  const absl::Status done = connection.Execute(absl::StrJoin(statements, "; "), deadline);
  if (SqlStateOf(done) == "2BP01") {
    return absl::FailedPreconditionError(
        absl::StrCat("the role ", role,
                     " has passed rights on these tables on, to others who would "
                     "lose them: if they may, run: REVOKE ALL ON ",
                     AllTables(), " FROM ", role, " CASCADE"));
  }
  if (!done.ok()) return done;
  const auto left = FindExcess(connection, name, deadline);
  if (!left.ok()) return left.status();
  if (!left->empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "nothing was granted, for the role ", role, " would keep rights that it does not need (",
        Describe(*left), "): as who granted them, run: ", Remedies(*left, role)));
  }
  if (!grantee->may_log_in) {
    report.notes.push_back(absl::StrCat("the role ", role,
                                        " may not log in, only its members may: ALTER ROLE ", role,
                                        " LOGIN, if the daemon is to connect as it"));
  }
  if (!grantee->may_connect) {
    report.notes.push_back(absl::StrCat(
        "the role ", role, " may not connect to this database: ", "GRANT CONNECT ON DATABASE ",
        grantee->database, " TO ", role));
  }
  return report;
}

}  // namespace sessiond::db
