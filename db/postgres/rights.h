// What the daemon's role must be allowed to do in a database that another role has made for it, and
// that it need not be allowed more. One table has both (rights.cc).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// FAILED_PRECONDITION: rights are missing, or row level security would hide rows; the message has
// the statements that fix it. Tables that migrations have not made are not checked.
absl::Status CheckRights(Connection& connection, SteadyTime deadline);

// Whether the role can do no more than that. FAILED_PRECONDITION: it is a superuser, it owns the
// tables, their schema or the database, or it has other rights on the tables; the message has what
// to type. The daemon works all the same, but nothing in the database would keep whoever gets hold
// of its password from changing the audit.
absl::Status CheckLeastPrivilege(Connection& connection, SteadyTime deadline);

// Whether rights on our tables would bind this role: its name, as it is and not as SQL writes it.
// FAILED_PRECONDITION: there is no such role, it is a superuser, or it is an owner; or a member of
// one. Also before the tables are there.
absl::Status CheckGrantee(Connection& connection, absl::string_view role, SteadyTime deadline);

// What was done, for people.
struct GrantReport {
  // As SQL writes it.
  std::string role;
  // For example `SELECT, UPDATE on partitions`. Granted: all that the role has now. Revoked: what
  // it was granted before and need not have.
  std::vector<std::string> granted, revoked;
  // What else keeps the role from serving, with the statement.
  std::vector<std::string> notes;
};

// Grants the role what the table says, and takes the rest away that it was granted on our tables.
// FAILED_PRECONDITION: as for CheckGrantee; the connection's role may not grant; or the role would
// keep more rights, by PUBLIC, by its membership in other roles, or because it passed them on. The
// message has what to type.
//
// REQUIRES: a transaction is open, which the caller rolls back on an error. The schema is migrated.
absl::StatusOr<GrantReport> GrantRights(Connection& connection, absl::string_view role,
                                        SteadyTime deadline);

}  // namespace sessiond::db
