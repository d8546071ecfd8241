#include "db/postgres/pooling.h"

#include <memory>
#include <string>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "db/connection/connection.h"
#include "db/connection/sql_error.h"

namespace sessiond::db {
namespace {

// A pooler that hands out the session returned last is detected in the first round; a round-robin
// one, with other clients, in a later round.
constexpr int kRounds = 3;

// A session, and the mark it carries.
struct Session {
  int pid = 0;
  std::string mark;
};

absl::StatusOr<Session> Look(Connection& connection, SteadyTime deadline) {
  const auto session = connection.Query(
      "SELECT pg_backend_pid(), coalesce(current_setting('sessiond.mark', true), '')", deadline);
  if (!session.ok()) return session.status();
  return Session{session->Int4(0, 0), std::string(session->Text(0, 1))};
}

absl::Status Mark(Connection& connection, const std::string& mark, SteadyTime deadline) {
  return connection.Query("SELECT set_config('sessiond.mark', $1, false)", deadline, {{mark}})
      .status();
}

absl::Status Shared(absl::string_view mode) {
  return absl::FailedPreconditionError(
      absl::StrCat("the database is reached through PgBouncer, or a pooler like it, in ", mode,
                   " mode, which gives every ", mode,
                   " another session: set pool_mode = session for it, or name PostgreSQL itself"));
}

// PgBouncer in statement mode refuses transactions by these words, and hangs up. Its SQLSTATE,
// 08P01, it has for much.
absl::Status Begin(Connection& connection, SteadyTime deadline) {
  const absl::Status begun = connection.Execute("BEGIN", deadline);
  return absl::StrContains(TroubleOf(begun), "statement pooling") ? Shared("statement") : begun;
}

// With the mode's name.
absl::Status Shared(Connection& connection, SteadyTime deadline) {
  const absl::Status begun = Begin(connection, deadline);
  return begun.ok() ? Shared("transaction") : begun;
}

// One connection leaves a mark. The other then takes a session, first for a moment and then for a
// whole transaction; the first must not lose its own session by that.
absl::Status Round(Connection& marker, Connection& taker, const std::string& mark,
                   SteadyTime deadline) {
  if (absl::Status marked = Mark(marker, mark, deadline); !marked.ok()) return marked;
  const auto before = Look(marker, deadline);
  if (!before.ok()) return before.status();
  if (before->mark != mark) return Shared(taker, deadline);
  const auto taken = Look(taker, deadline);
  if (!taken.ok()) return taken.status();
  if (taken->mark == mark || taken->pid == before->pid) return Shared(taker, deadline);

  if (absl::Status begun = Begin(taker, deadline); !begun.ok()) return begun;
  const auto held = Look(taker, deadline);
  if (!held.ok()) return held.status();
  if (held->mark == mark || held->pid != taken->pid) return Shared("transaction");
  const auto after = Look(marker, deadline);
  if (!after.ok()) return after.status();
  if (after->mark != mark || after->pid != before->pid) return Shared("transaction");
  return taker.Execute("ROLLBACK", deadline);
}

}  // namespace

absl::Status CheckPooling(const std::string& dsn, SteadyTime deadline) {
  const ConnectionOptions options = {
      .dsn = dsn, .application_name = "sessiond start", .pinned = false};
  const auto marker = Connection::Open(options, deadline);
  if (!marker.ok()) return marker.status();
  const auto taker = Connection::Open(options, deadline);
  if (!taker.ok()) return taker.status();
  absl::BitGen random;
  for (int round = 0; round < kRounds; ++round) {
    const std::string mark = absl::StrCat(absl::Hex(random(), absl::kZeroPad16));
    if (absl::Status status = Round(**marker, **taker, mark, deadline); !status.ok()) return status;
  }
  return Mark(**marker, "", deadline);
}

}  // namespace sessiond::db
