// Whether the daemon is alive, and whether it is ready: said over gRPC (rpc/health_service.h) and
// over HTTP (admin_http.h).
//
//   probe of the database ─▶ Readiness ─┬▶ HealthService: Check, Watch
//    call of its own port ─▶            ├▶ /readyz?verbose
//        StartDraining()  ─▶            └▶ /livez
//
// Liveness never asks the database, nor waits for who does: neither a failover nor a name server
// that hangs must restart every daemon. It asks whether the daemon still goes round, which is to
// call its own port, and answers there. Readiness asks the database, too: whether changes can be
// made.
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond {

// What the daemon knows of its own state. Pure but for its lock: the clock is a parameter.
// Thread-safe.
class Readiness {
 public:
  struct Check {
    std::string name;
    bool ok = false;
    std::string detail;
  };

  // `database_grace`: for how long the database may be out of reach before the daemon is not ready
  // any more.
  explicit Readiness(absl::Duration database_grace = absl::Seconds(10))
      : database_grace_(database_grace) {}

  // The outcome of asking the database at `now` (db/postgres/database_probe.h): the version of its
  // schema. FAILED_PRECONDITION: it will not serve us, which is never ready, without grace.
  // RESOURCE_EXHAUSTED: it takes no changes, which may pass within a moment. Anything else: it is
  // out of reach, which a failover is, too.
  void Observe(const absl::StatusOr<int>& schema_version, SteadyTime now);
  // Whether the database lets in as many connections as the daemon needs; the message says why not.
  // That they come to be too few is overlooked for the grace, too.
  void ObserveConnections(const absl::Status& enough, SteadyTime now);
  // The outcome of a call that the daemon made on its own port, as it does once a round.
  void ObserveOwnCall(const absl::Status& outcome, SteadyTime now);
  // Never ready again.
  void StartDraining();

  bool ready(SteadyTime now) const;
  // False: only a restart helps.
  bool alive(SteadyTime now) const;
  // One line each, for people.
  std::vector<Check> Checks(SteadyTime now) const;

 private:
  Check ConnectionsCheck(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Check DatabaseCheck(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Check PortCheck(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration database_grace_;
  mutable absl::Mutex mutex_;
  absl::StatusOr<int> schema_version_ ABSL_GUARDED_BY(mutex_) =
      absl::UnavailableError("not asked yet");
  SteadyTime last_success_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfinitePast();
  absl::Status connections_ ABSL_GUARDED_BY(mutex_);
  SteadyTime last_enough_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfinitePast();
  SteadyTime last_round_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfiniteFuture();
  absl::Status own_call_ ABSL_GUARDED_BY(mutex_);
  SteadyTime last_answer_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfiniteFuture();
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sessiond
