// Whether the database lets in as many connections as a daemon opens: a limit of the role, of the
// database or of the server, and who is there already, leave so many.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// `needed`: of one daemon, of which this process has `own`, the one that asks among them.
// FAILED_PRECONDITION: fewer are left, and the message says which limit it is and how to raise it.
// What a pooler in between allows is not seen.
absl::Status CheckCapacity(Connection& connection, int needed, int own, SteadyTime deadline);

}  // namespace sessiond::db
