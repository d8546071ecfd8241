// SQLSTATE → absl::Status. What PostgreSQL says about values never leaves db/: a status carries the SQLSTATE and the
// statement's name, the text goes to the log at debug level.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sessiond::db {

// UNAVAILABLE with payload DATABASE_UNAVAILABLE: 08xxx, 57P0x, 53xxx, 25006 (a standby) · UNAVAILABLE with payload
// LOCK_TIMEOUT: 55P03, 40P01, 40001 · DEADLINE_EXCEEDED: 57014 · FAILED_PRECONDITION: 42xxx and 3Fxxx, the schema is not
// ours · INTERNAL: everything else.
absl::Status SqlError(absl::string_view sqlstate, absl::string_view statement, absl::string_view message);

// The SQLSTATE of a status made by SqlError; empty for others.
std::string SqlStateOf(const absl::Status& status);

// For a lost connection: UNAVAILABLE, SQLSTATE 08006.
absl::Status ConnectionLost(absl::string_view what);

}  // namespace sessiond::db
