// Whether the daemon is alive, and whether it is ready: reported over gRPC
// (server/rpc/health_service.h) and HTTP (server/http/probes.h).
//
//   probe of the database ─▶ Readiness ─┬▶ HealthService: Check, Watch
//    call of its own port ─▶            ├▶ /readyz?verbose
//        StartDraining()  ─▶            └▶ /livez
//
// Liveness never asks the database, and waits for nothing that does: neither a failover nor a
// hanging name server may restart every daemon. It asks whether the daemon still makes its rounds,
// in which it calls its own port, and gets answers. Readiness also asks the database: whether
// changes can be made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond {

// What the daemon knows about its own state. Pure except for its lock: the clock is a parameter.
// Thread-safe.
class Readiness {
 public:
  struct Check {
    std::string name;
    bool ok = false;
    std::string detail;
  };

  // `database_grace`: how long the database may be unreachable before the daemon is no longer
  // ready.
  explicit Readiness(absl::Duration database_grace = absl::Seconds(10))
      : database_grace_(database_grace) {}

  // The outcome of asking the database at `now` (db/postgres/database_probe.h): the version of its
  // schema. FAILED_PRECONDITION: we must not use it; never ready, without grace.
  // RESOURCE_EXHAUSTED: it accepts no changes, which may pass within a moment. Anything else: it is
  // unreachable, as in a failover.
  void Observe(const absl::StatusOr<int>& schema_version, SteadyTime now);
  // Whether the database accepts as many connections as the daemon needs; the message says why not.
  // A shortage, too, is ignored for the grace.
  void ObserveConnections(const absl::Status& enough, SteadyTime now);
  // Whether the database keeps what it acknowledged; the message says why not. Not ready while it
  // does not, unless that is `allowed`. Never called: nobody relies on it.
  void ObserveDurability(const absl::Status& durable, bool allowed);
  // What is wrong with certificates and access, which does not keep the daemon from serving; empty:
  // nothing.
  void ObserveSecurity(std::string trouble);
  // The outcome of a call by the daemon to its own port, one per round. RESOURCE_EXHAUSTED: it lets
  // nobody in at present, which a restart would not help.
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
  Check DurabilityCheck() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Check DatabaseCheck(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Check PortCheck(SteadyTime now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration database_grace_;
  mutable absl::Mutex mutex_;
  absl::StatusOr<int> schema_version_ ABSL_GUARDED_BY(mutex_) =
      absl::UnavailableError("not asked yet");
  SteadyTime last_success_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfinitePast();
  absl::Status connections_ ABSL_GUARDED_BY(mutex_);
  SteadyTime last_enough_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfinitePast();
  std::optional<absl::Status> durable_ ABSL_GUARDED_BY(mutex_);
  bool unsafe_allowed_ ABSL_GUARDED_BY(mutex_) = false;
  SteadyTime last_round_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfiniteFuture();
  absl::Status own_call_ ABSL_GUARDED_BY(mutex_);
  SteadyTime last_answer_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfiniteFuture();
  // The port answered, or its state was known.
  SteadyTime last_sign_ ABSL_GUARDED_BY(mutex_) = SteadyTime::InfiniteFuture();
  std::string security_trouble_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sessiond
