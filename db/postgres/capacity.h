// Whether the database accepts as many connections as a daemon opens, given the limits of the role,
// the database and the server, and the connections there are already.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// `needed`: connections of one daemon; this process has `own` of them open, including the one that
// asks. FAILED_PRECONDITION: fewer are left; the message says which limit it is and how to raise
// it. Limits of a pooler in between are not seen.
absl::Status CheckCapacity(Connection& connection, int needed, int own, SteadyTime deadline);

}  // namespace sessiond::db
