// SQLSTATE → absl::Status. What PostgreSQL says about values never leaves db/: a status carries the
// SQLSTATE and the statement's name, the text goes to the log at debug level. What it says about
// database objects, a table, a role, a limit, is for operators.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sessiond::db {

// A refusal by the table in sql_error.cc: DATABASE_UNAVAILABLE or LOCK_TIMEOUT (both with
// RetryInfo), SCHEMA_MISMATCH, or CONSTRAINT_VIOLATION for what the daemon should have checked. The
// latter two are logged as errors, unless they were `expected`.
absl::Status SqlError(absl::string_view sqlstate, absl::string_view statement,
                      absl::string_view message, bool expected = false);

// The SQLSTATE of a status made by SqlError; empty for others.
std::string SqlStateOf(const absl::Status& status);

// For the operator: what libpq said about a connection that could not be made or was lost, or
// PostgreSQL about a database object (`permission denied for table sessions`); empty for every
// other status. Never sent to callers.
std::string TroubleOf(const absl::Status& status);

// For a connection that was lost or not made: 08001 if no server answered, 25006 if read-only.
absl::Status ConnectionLost(absl::string_view what, absl::string_view sqlstate = "08006");

// For a connection that was not made in time; `accepted`: though its server took it on, and so may
// only be slow. SQLSTATE 08001.
absl::Status ConnectingTimedOut(absl::string_view what, bool accepted);
bool WasAccepted(const absl::Status& status);

// For a commit of which it is unknown whether it is everywhere that it must be: SQLSTATE 08007.
absl::Status CommitInDoubt();

// Whether the session lacks what was prepared in it, or has what was not: a pooler in between has
// given the connection another one.
bool IsAnotherSession(absl::string_view sqlstate);

// Whether a connection with this status is unusable, or leads to another session, or to a server
// where nothing can be written.
bool ConnectionIsGone(const absl::Status& status);

// What libpq said, in its verbose form, about a connection that was not made: `FATAL:  53300: too
// many connections for role "app"`. With the server's SQLSTATE, or 08006 if none answered.
absl::Status ConnectionRefused(absl::string_view message);

}  // namespace sessiond::db
