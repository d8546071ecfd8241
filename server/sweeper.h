// What the daemon does because a time has passed: it fails tasks whose workers are silent, deletes
// sessions that were left in CREATING, stops abandoned ones, archives those whose retention has
// ended, and deletes request ids after a day. Safe on several daemons at once: each step is a
// normal command, decided under the lock of its session, so only one daemon's has an effect.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/session_store.h"
#include "db/sweep_queries.h"
#include "server/ops/journal.h"

namespace sessiond {

struct SweeperOptions {
  std::string dsn;
  // How often it looks for silent workers.
  absl::Duration heartbeat_period = absl::Seconds(1);
  // How often it does everything else except retention.
  absl::Duration period = absl::Minutes(1);
  // How often it archives what is due; zero for never.
  absl::Duration retention_period = absl::Minutes(10);
  // How long a session may stay in CREATING.
  absl::Duration creating_max = absl::Hours(1);
  // How long request ids are stored.
  absl::Duration requests_kept = absl::Hours(24);
};

class Sweeper {
 public:
  // Sweeps at once, and then each sweep once per period. REQUIRES: `store`, undrained, and
  // `journal` outlive the sweeper.
  Sweeper(SweeperOptions options, db::SessionStore& store, Journal& journal);
  // Lets the current step finish.
  ~Sweeper();

  // Asks the current sweep to end after its step, without waiting.
  void Stop() { stop_.Notify(); }

 private:
  // All of the following: sweeper's thread only.
  void Run();
  absl::Status Sweep();
  // Submits the commands in parallel, and reports those that had an effect to the journal. Returns
  // their number.
  int Carry(std::vector<Command> commands);
  // What stood in the way of them, once per period.
  void TellTroubles();

  void AnalyzeWhatGrew();
  absl::Status FailSilentTasks();
  absl::Status SweepOld();
  absl::Status DeleteStaleCreations(absl::Time now);
  absl::Status StopAbandoned(absl::Time now);
  absl::Status PurgeRequests(absl::Time now);
  absl::Status ArchiveDue();

  const SweeperOptions options_;
  db::SessionStore& store_;
  Journal& journal_;
  SteadyEvent stop_;
  db::SweepQueries due_;
  // When each is due next.
  SteadyTime analyze_due_ = SteadyTime::InfinitePast(), sweep_due_ = SteadyTime::InfinitePast(),
             retention_due_ = SteadyTime::InfinitePast();
  db::DuePosition due_position_;
  SteadyTime tell_due_;
  // Since it was last told.
  int troubles_ = 0;
  absl::Status first_trouble_;
  std::thread thread_;
};

}  // namespace sessiond
