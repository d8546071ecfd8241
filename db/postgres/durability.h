// Whether the database keeps what it acknowledges.
#pragma once

#include "absl/status/status.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// Whether an acknowledged commit survives a crash. FAILED_PRECONDITION names every setting that
// prevents it (fsync, full_page_writes, synchronous_commit, data_sync_retry), with the statements
// that set it right. UNAVAILABLE: no database.
absl::Status CheckDurability(Connection& connection, SteadyTime deadline);

}  // namespace sessiond::db
