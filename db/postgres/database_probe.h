// Asks the database what a lane needs of it, for readiness: to accept connections, and changes.
//
//   every second      its state, on a connection that stays open: which schema, and whether it can
//                     be written to; and whether changes wait for a synchronous standby
//   every ten         a write check: a change that changes nothing, committed as lanes commit, and
//                     a quarter of a megabyte on its disk, removed at once; left out if a lane has
//                     committed meanwhile, so a busy daemon makes none
//   while lanes fail  every second a write check, on a new connection: as a lane needs that has
//                     lost its own
//
// If the URL names several hosts, it also looks around: every two seconds on a new connection, for
// which all hosts are asked. If one has become the primary while the old one runs on, all links go
// there (db/connection/primary.h).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "db/base/steady_time.h"
#include "db/connection/connection.h"
#include "db/connection/lane_settings.h"
#include "db/connection/link.h"

namespace sessiond::db {

// What the lanes report about their groups. Thread-safe.
class LaneReports {
 public:
  void Committed(SteadyTime now);
  // A group failed because of the database. It `took` this long to find out.
  void Failed(const absl::Status& why, absl::Duration took, SteadyTime now);

  SteadyTime last_commit() const;
  // Why the last group failed; OK if one was committed since, or if by `since` the next could have
  // failed as slowly.
  absl::Status TroubleSince(SteadyTime since) const;

 private:
  mutable std::mutex mutex_;
  SteadyTime committed_ = SteadyTime::InfinitePast();
  SteadyTime failed_ = SteadyTime::InfinitePast();
  absl::Duration took_;
  absl::Status why_;
};

// For operators: what is wrong, by PostgreSQL's own code for it (empty for none) and by what libpq
// said about a connection, and what to do about it. RESOURCE_EXHAUSTED: the database answers, but
// accepts no changes. UNAVAILABLE: it does not answer. FAILED_PRECONDITION: it will not serve us
// until an operator acts.
absl::Status DatabaseTrouble(absl::string_view sqlstate, absl::string_view trouble);

class DatabaseProbe {
 public:
  // REQUIRES: `reports` outlives the probe.
  DatabaseProbe(LaneSettings settings, const LaneReports& reports);

  // The version of the schema, if all is well by `deadline`. Otherwise an error of DatabaseTrouble.
  // One thread.
  absl::StatusOr<int> Look(SteadyTime deadline);

  // REQUIRES: the last look found all well.
  Connection& connection() { return **link_; }

 private:
  absl::StatusOr<int> Ask(SteadyTime deadline);
  absl::Status Try(SteadyTime deadline);
  absl::Status Connect(SteadyTime deadline);
  static absl::Status Explain(const absl::Status& status);

  const LaneSettings settings_;
  const LaneReports& reports_;
  const bool several_hosts_;
  std::unique_ptr<Link> link_;
  SteadyTime look_around_due_ = SteadyTime::InfinitePast();
  SteadyTime last_write_check_ = SteadyTime::InfinitePast();
  // When a COMMIT was last seen to wait for a standby.
  SteadyTime waited_ = SteadyTime::InfinitePast();
  absl::Status write_check_;
};

}  // namespace sessiond::db
