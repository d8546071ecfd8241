// Whether our connections are sessions of PostgreSQL's. A pooler in transaction or statement mode
// gives each transaction whichever session is free: statements are not prepared there, settings are
// another's, and locks are nobody's.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

// By two connections, of which neither may meet what the other has left behind. OK: they are
// sessions; a pooler in session mode is none to us. FAILED_PRECONDITION: they are not, and what to
// do about it. UNAVAILABLE: they cannot be opened.
absl::Status CheckPooling(const std::string& dsn, SteadyTime deadline);

}  // namespace sessiond::db
