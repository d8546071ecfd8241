// Connects to one of the servers that a connection string names: all hosts at once, so that one
// that hangs delays no other, and each host's addresses in turn. If several are reached, each is
// asked for its state, and the newest primary is chosen: not an old one that came back first.
//
//   host 1 ── address ── address        each with a time of its own
//   host 2 ── address                   reached ──▶ asked ──▶ Choose (primary.h)
//
// Names are looked up in the background (names.h): a slow one delays no other host either.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "db/base/steady_time.h"
#include "db/connection/primary.h"

struct pg_conn;

namespace sessiond::db {

class Result;

// What a server says of itself: the answer to ask_server.sql, or to ask_server_less.sql.
ServerState ReadServerState(const Result& answer);

// Whether there is something to choose.
bool NamesSeveralHosts(const std::string& dsn);

// REQUIRES: the dsn is well-formed (conninfo.h).
//
// A connection that is ready for queries; PQfinish ends it. target_session_attrs is not passed on:
// the primary is always looked for. If no host is one, a standby is returned, and the caller will
// find that out. UNAVAILABLE: no host was reached, with the reason for each; SQLSTATE 08001 if none
// answered at all.
absl::StatusOr<pg_conn*> Dial(const std::string& dsn, const std::string& application_name,
                              const Seen& seen, SteadyTime deadline);

}  // namespace sessiond::db
