// grpc.health.v1: whether the daemon is ready, for load balancers and probes. Our own code, because
// gRPC's default service cannot be described by reflection, which stops grpcui.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "db/base/coroutine.h"
#include "grpc/health/v1/health.pb.h"
#include "server/rpc/async_signal.h"
#include "server/rpc/grpc_stream.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/standard_service.h"

namespace sessiond::rpc {

// "" and every served service are as ready as the daemon; "liveness" is SERVING while the daemon is
// alive. Others are NOT_FOUND (Check) or SERVICE_UNKNOWN (Watch). Outlives the server that serves
// it. Thread-safe.
class HealthService final : public StandardService {
 public:
  // `alive` is called on any thread.
  explicit HealthService(
      absl::Span<const std::string> services, std::function<bool()> alive = [] { return true; });

  // Notifies all watchers, if this is a change. Not serving until the first call.
  void SetReady(bool ready);

  std::vector<grpc::Service*> services() override { return {&service_}; }
  void Accept(CallQueue& queue, GrpcStream::Shared& shared) override;
  // With UNAVAILABLE, after the last status was sent.
  void EndStreams() override;

 private:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // By their places in the proto.
  enum Method { kCheck, kWatch };

  Detached ServeCheck(CallQueue& queue, GrpcStream::Shared& shared);
  Detached ServeWatch(CallQueue& queue, GrpcStream::Shared& shared);
  // Sends every status, until the stream ends. Returns what it ends with.
  Awaitable<absl::Status> SendStatuses(GrpcStream& stream);

  // SERVICE_UNKNOWN for an unknown service.
  Status StatusOf(const std::string& service) const;
  bool ended() const;
  void NotifyWatchers();
  void Join(const std::shared_ptr<AsyncSignal>& watcher);
  void Leave(const std::shared_ptr<AsyncSignal>& watcher);

  RawService service_{grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0)};
  absl::flat_hash_set<std::string> known_;
  const std::function<bool()> alive_;

  mutable absl::Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::shared_ptr<AsyncSignal>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::rpc
