// Whether each of our connections is a PostgreSQL session of its own. A pooler in transaction or
// statement mode gives each transaction whichever session is free: statements are not prepared
// there, settings are those of another client, and session locks do not work.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

// Checks that neither of two connections sees what the other has set. OK: they are sessions; a
// pooler in session mode passes. FAILED_PRECONDITION: they are not; the message says what to do.
// UNAVAILABLE: they cannot be opened.
absl::Status CheckPooling(const std::string& dsn, SteadyTime deadline);

}  // namespace sessiond::db
