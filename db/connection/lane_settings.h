// How lanes, for writing and for reading, connect.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/connection/primary.h"

namespace sessiond::db {

struct LaneSettings {
  std::string dsn;
  // How long a command waits for what somebody else keeps locked.
  absl::Duration lock_timeout = absl::Seconds(2);
  // How much of that a lane waits: what takes longer waits beside. Another daemon keeps a partition
  // for a group, some milliseconds, some tens where the disk is slow; who waits beside without need
  // loses little by it. All others of the lane wait so long, once for each row that is locked.
  absl::Duration lock_moment = absl::Milliseconds(50);
  // How long a statement may take.
  absl::Duration statement_timeout = absl::Seconds(5);
  // What is seen of the database; one for all who share it.
  std::shared_ptr<Primary> primary = std::make_shared<Primary>();
};

// Statements are planned once and generically, and never by a scan: they are prepared on tables
// that may still be empty, where the planner would keep sequential scans for good, and planning
// anew costs about a millisecond a group. A daemon that is frozen in the middle of a transaction
// loses it after 5 s, so that its partitions are free again.
ConnectionOptions LaneConnection(const LaneSettings& settings, absl::string_view application_name);

}  // namespace sessiond::db
