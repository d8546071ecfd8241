// Whether the daemon is alive, and whether it is ready: said over gRPC (grpc.health.v1) and over
// HTTP (admin_http.h).
//
//   probe of the database ─▶ Readiness ─┬▶ HealthService: Check, Watch
//        StartDraining()  ─▶            └▶ /readyz?verbose
//
// Liveness never asks the database: a failover must not restart every daemon. Readiness does, after
// a grace.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "grpc/health/v1/health.grpc.pb.h"

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

  // The outcome of asking the database at `now`: the version of its schema.
  // FAILED_PRECONDITION: it answers, with another schema, which is never ready, without grace.
  // Anything else: it is out of reach.
  void Observe(const absl::StatusOr<int>& schema_version, absl::Time now);
  // Never ready again.
  void StartDraining();

  bool ready(absl::Time now) const;
  // One line each, for people.
  std::vector<Check> Checks(absl::Time now) const;

 private:
  Check DatabaseCheck(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration database_grace_;
  mutable absl::Mutex mutex_;
  absl::StatusOr<int> schema_version_ ABSL_GUARDED_BY(mutex_) =
      absl::UnavailableError("not asked yet");
  absl::Time last_success_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// grpc.health.v1 for "" and every served service, which are as ready as the daemon, and "liveness",
// which always serves. Others are NOT_FOUND (Check) or SERVICE_UNKNOWN (Watch). Outlives the server
// that serves it. Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(absl::Span<const std::string> services);
  ~HealthService() override;

  // Tells everyone who watches, if it is news. Not serving until first told.
  void SetReady(bool ready);
  // Ends every Watch, and those to come, with UNAVAILABLE, so that Server::Shutdown need not wait
  // for them.
  void EndStreams();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  class Watcher;

  // SERVICE_UNKNOWN for a service it does not know.
  Status StatusOf(const std::string& service) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::shared_ptr<Watcher>> Watchers() const ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::flat_hash_set<std::string> services_;
  mutable absl::Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond
