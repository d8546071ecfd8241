#include "server/rpc/health_service.h"

#include <atomic>
#include <optional>
#include <utility>

#include "server/rpc/call.h"

namespace sessiond::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Completes when the call is over, whichever side ended it.
class CallIsOver final : public Tag {
 public:
  explicit CallIsOver(Signal& signal) : signal_(signal) {}
  void Complete(bool) override {
    over_.store(true);
    signal_.Set();  // This may end the stream's coroutine, and destroy this object.
  }
  bool over() const { return over_.load(); }

 private:
  Signal& signal_;
  std::atomic<bool> over_ = false;
};

}  // namespace

HealthService::HealthService(absl::Span<const std::string> services, std::function<bool()> alive)
    : known_(services.begin(), services.end()), alive_(std::move(alive)) {
  known_.insert("");
}

HealthService::Status HealthService::StatusOf(const std::string& service) const {
  if (service == "liveness")
    return alive_() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  if (!known_.contains(service)) return HealthCheckResponse::SERVICE_UNKNOWN;
  absl::MutexLock lock(&mutex_);
  return ready_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

bool HealthService::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

void HealthService::SetReady(bool ready) {
  {
    absl::MutexLock lock(&mutex_);
    if (ready_ == ready) return;
    ready_ = ready;
  }
  TellWatchers();
}

void HealthService::EndStreams() {
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  TellWatchers();
}

// Without the lock, because a watcher may leave while it is notified.
void HealthService::TellWatchers() {
  std::vector<std::shared_ptr<Signal>> watchers;
  {
    absl::MutexLock lock(&mutex_);
    watchers.assign(watchers_.begin(), watchers_.end());
  }
  for (const auto& watcher : watchers) watcher->Set();
}

void HealthService::Join(const std::shared_ptr<Signal>& watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.insert(watcher);
}

void HealthService::Leave(const std::shared_ptr<Signal>& watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(watcher);
}

void HealthService::Accept(CallQueue& queue) {
  ServeCheck(queue);
  ServeWatch(queue);
}

Detached HealthService::ServeCheck(CallQueue& queue) {
  const CallQueue::Use use(queue);
  grpc::ServerContext context;
  HealthCheckRequest request;
  grpc::ServerAsyncResponseWriter<HealthCheckResponse> writer(&context);
  Completion accepted([&](void* tag) {
    service_.RequestCheck(&context, &request, &writer, queue.get(), queue.get(), tag);
  });
  if (!co_await accepted) co_return;  // Shutting down.
  ServeCheck(queue);

  HealthCheckResponse response;
  response.set_status(StatusOf(request.service()));
  Completion finished([&](void* tag) {
    if (response.status() == HealthCheckResponse::SERVICE_UNKNOWN) {
      writer.FinishWithError(
          {grpc::StatusCode::NOT_FOUND,
           "No such service is served here: leave `service` empty to ask for the daemon."},
          tag);
    } else {
      writer.Finish(response, grpc::Status::OK, tag);
    }
  });
  co_await finished;
}

Detached HealthService::ServeWatch(CallQueue& queue) {
  const CallQueue::Use use(queue);
  const auto news = std::make_shared<Signal>();
  CallIsOver call(*news);
  grpc::ServerContext context;
  context.AsyncNotifyWhenDone(static_cast<Tag*>(&call));
  HealthCheckRequest request;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer(&context);
  Completion accepted([&](void* tag) {
    service_.RequestWatch(&context, &request, &writer, queue.get(), queue.get(), tag);
  });
  if (!co_await accepted) co_return;  // Shutting down; `call` never completes.
  ServeWatch(queue);

  Join(news);
  HealthCheckResponse response;
  std::optional<Status> told;
  while (!call.over()) {
    const bool last = ended();
    const Status status = StatusOf(request.service());
    if (told != status) {
      told = status;
      response.set_status(status);
      Completion written([&](void* tag) { writer.Write(response, tag); });
      if (!co_await written) break;
    } else if (last) {
      break;
    } else {
      co_await news->Wait();
    }
  }
  Leave(news);
  Completion finished([&](void* tag) {
    writer.Finish({grpc::StatusCode::UNAVAILABLE, "The daemon is draining: watch another one."},
                  tag);
  });
  co_await finished;
  // The frame must not be destroyed before the last of its tags has completed.
  while (!call.over()) co_await news->Wait();
}

}  // namespace sessiond::rpc
