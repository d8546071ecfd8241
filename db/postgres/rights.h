// What the daemon's role must be allowed to do in a database that somebody else has made for it.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// FAILED_PRECONDITION: rights are missing, or row level security would hide rows; the message has
// the statements that mend it. What migrations have not made is
// not looked for.
absl::Status CheckRights(Connection& connection, SteadyTime deadline);

}  // namespace sessiond::db
