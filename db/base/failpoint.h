// Places between two steps of which the second may never be reached, because the process ends or
// stands still. `sessiond_failpoints` (tests/failpoints) is the daemon with these armed: a test has
// it killed or frozen there, and looks at what is left. In the daemon itself they do nothing, and
// nothing can arm them.
#pragma once

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
  // A lane has decided a group, and has sent no change of it.
  kGroupDecided,
  // PostgreSQL has said that a group is committed; nobody else knows.
  kGroupCommitted,
  // The lane's cache has the group, and the watches' feeder; none of its callers is answered.
  kGroupPublished,
  // A caller is answered, and another one of its group is not.
  kGroupAnswered,
  // Changes that other daemons have made are read; no watch has been told of them.
  kChangesRead,
};

void Reached(Failpoint point);

}  // namespace sessiond
