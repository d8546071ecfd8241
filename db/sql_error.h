// SQLSTATE → absl::Status. What PostgreSQL says about values never leaves db/: a status carries the
// SQLSTATE and the statement's name, the text goes to the log at debug level.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sessiond::db {

// A refusal by the table in sql_error.cc: DATABASE_UNAVAILABLE or LOCK_TIMEOUT (both with
// RetryInfo), SCHEMA_MISMATCH, or CONSTRAINT_VIOLATION for what the daemon should have checked. The
// latter two are logged as errors, unless they were to be `expected`.
absl::Status SqlError(absl::string_view sqlstate, absl::string_view statement,
                      absl::string_view message, bool expected = false);

// The SQLSTATE of a status made by SqlError; empty for others.
std::string SqlStateOf(const absl::Status& status);

// What libpq said of a connection that could not be made or was lost, for the operator; empty for
// every other status. Never sent to callers.
std::string ConnectionTroubleOf(const absl::Status& status);

// For a lost connection: SQLSTATE 08006.
absl::Status ConnectionLost(absl::string_view what);

}  // namespace sessiond::db
