// What the daemon does because a time has passed: it deletes sessions that were left in CREATING,
// and forgets request ids after a day. Safe on several daemons at once: a deletion is a command
// like any other, with a request id made of the session's, so that only one of them has an effect.
#pragma once

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "db/session_store.h"

namespace sessiond {

struct SweeperOptions {
  db::LaneSettings settings;
  absl::Duration period = absl::Minutes(1);
  // How long a session may stay in CREATING.
  absl::Duration creating_max = absl::Hours(1);
  // How long request ids are kept.
  absl::Duration requests_kept = absl::Hours(24);
};

class Sweeper {
 public:
  // Sweeps at once, and then once in a period. REQUIRES: `store` outlives the sweeper, undrained.
  Sweeper(SweeperOptions options, db::SessionStore& store);
  // Lets the sweep under way finish.
  ~Sweeper();

 private:
  // All of the following: sweeper's thread only.
  void Run();
  absl::Status Sweep();
  absl::Status DeleteStaleCreations(absl::Time now);
  absl::Status PurgeRequests(absl::Time now);

  const SweeperOptions options_;
  db::SessionStore& store_;
  std::unique_ptr<db::Connection> connection_;
  absl::Notification stop_;
  std::thread thread_;
};

}  // namespace sessiond
