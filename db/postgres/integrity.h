// Whether somebody has changed by hand what everything relies on, as far as a few look-ups tell.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// FAILED_PRECONDITION, with the statement that mends it: a partition is missing, or is behind its
// events, or the trigger that keeps events from being changed is off. Daemons may write meanwhile.
// REQUIRES: the schema is migrated.
absl::Status CheckIntegrity(Connection& connection, SteadyTime deadline);

}  // namespace sessiond::db
