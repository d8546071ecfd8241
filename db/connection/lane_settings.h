// How write lanes and read lanes connect.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/connection/primary.h"

namespace sessiond::db {

struct LaneSettings {
  std::string dsn;
  // How long a command waits for locks of other transactions.
  absl::Duration lock_timeout = absl::Seconds(2);
  // How much of that the lane itself waits; after that, the command waits in the lock queue.
  // Another daemon locks a partition for the length of a group: some milliseconds, some tens if the
  // disk is slow; waiting in the queue needlessly costs little. All other commands of the lane are
  // delayed this long, once for each locked row.
  absl::Duration lock_moment = absl::Milliseconds(50);
  // How long a statement may take.
  absl::Duration statement_timeout = absl::Seconds(5);
  // What is known about the database; shared by all that use it.
  std::shared_ptr<Primary> primary = std::make_shared<Primary>();
};

// Statements are planned once and generically, and never by a scan: they are prepared on tables
// that may still be empty, for which the planner would choose sequential scans for good, and
// planning again costs about a millisecond per group. A daemon that is frozen in the middle of a
// transaction loses it after 5 s, so that its partitions are free again.
ConnectionOptions LaneConnection(const LaneSettings& settings, absl::string_view application_name);

}  // namespace sessiond::db
