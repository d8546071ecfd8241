// Connects to one of the servers that a connection string names: all hosts at once, so that one
// that hangs hides no other, and of each host one address after the other. Where several are
// reached, each is asked what it is, and the newest primary is taken: not the old one that came
// back first.
//
//   host 1 ── address ── address        each with a time of its own
//   host 2 ── address                   reached ──▶ asked ──▶ Choose (primary.h)
//
// Names are looked up in the background (names.h): a slow one hides no other host either.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "db/base/steady_time.h"
#include "db/connection/primary.h"

struct pg_conn;

namespace sessiond::db {

// Whether there is something to choose.
bool NamesSeveralHosts(const std::string& dsn);

// REQUIRES: the dsn is well-formed (conninfo.h).
//
// A connection that is ready for queries; PQfinish ends it. target_session_attrs is not passed on:
// it is always the primary that is looked for. Where no host is one, a standby is answered, for
// whoever asks it to say so. UNAVAILABLE: no host was reached, and why of each; by SQLSTATE 08001
// where none has said a word.
absl::StatusOr<pg_conn*> Dial(const std::string& dsn, const std::string& application_name,
                              const Seen& seen, SteadyTime deadline);

}  // namespace sessiond::db
