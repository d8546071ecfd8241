// What the daemon's role must be allowed to do in a database that another role has made for it.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// FAILED_PRECONDITION: rights are missing, or row level security would hide rows; the message has
// the statements that fix it. Tables that migrations have not made are not checked.
absl::Status CheckRights(Connection& connection, SteadyTime deadline);

}  // namespace sessiond::db
