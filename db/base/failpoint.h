// Places between two steps of which the second may never be reached, because the process ends or
// stands still. `sessiond_failpoints` (tests/failpoints) is the daemon with these armed: a test has
// it killed or frozen there, and looks at what is left. In the daemon itself they do nothing, and
// nothing can arm them.
#pragma once

#include <array>
#include <cstddef>

#include "absl/strings/string_view.h"

namespace sessiond {

enum class Failpoint {
  // The embedded PostgreSQL: initdb is done, and its directory has not got its name.
  kClusterMade,
  // It runs, and has no database of ours.
  kClusterStarted,
  // A migration is in an open transaction.
  kMigrationApplied,
  // A migration is committed.
  kMigrationCommitted,
  // A lane has decided a group, and has sent nothing of it.
  kGroupDecided,
  // PostgreSQL has said that a group is committed; nobody else knows.
  kGroupCommitted,
  // Watches and the lane's cache have the group; none of its callers is answered.
  kGroupTold,
  // The first of several callers of a group is answered.
  kGroupAnswered,
  // Changes that other daemons have made are read; no watch has been told of them.
  kChangesRead,
};

inline constexpr std::array<absl::string_view, 9> kFailpointNames = {
    "cluster-made",        "cluster-started", "migration-applied",
    "migration-committed", "group-decided",   "group-committed",
    "group-told",          "group-answered",  "changes-read",
};

inline absl::string_view NameOf(Failpoint point) {
  return kFailpointNames[static_cast<std::size_t>(point)];
}

void Reached(Failpoint point);

}  // namespace sessiond
