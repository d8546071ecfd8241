// Whether the database accepts as many connections as a daemon opens, given the limits of the role,
// the database and the server, and the connections there are already.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// `needed`: connections of one daemon; this process has `own` of them open, including the one that
// asks. FAILED_PRECONDITION: fewer are left; the message says which limit it is and how to raise
// it. Limits of a pooler in between are not seen.
absl::Status CheckCapacity(Connection& connection, int needed, int own, SteadyTime deadline);

// Opens so many connections at once, and closes them again: what is in between may have limits,
// too. A pooler has those wait that are too many, so it is tried until the deadline; the other ones
// are kept until then. FAILED_PRECONDITION: not all were let in; the message says what may limit
// them. UNAVAILABLE: the database lets nobody in at present.
absl::Status TryConnections(const std::string& dsn, int count, absl::string_view application_name,
                            SteadyTime deadline);

}  // namespace sessiond::db
