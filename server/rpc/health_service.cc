#include "server/rpc/health_service.h"

#include <optional>
#include <utility>

#include "server/rpc/call.h"
#include "server/rpc/dispatcher.h"
#include "server/rpc/grpc_body.h"
#include "server/rpc/parse.h"
#include "server/rpc/replies.h"
#include "server/rpc/status.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

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
  NotifyWatchers();
}

void HealthService::EndStreams() {
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  NotifyWatchers();
}

// Without the lock, because a watcher may leave while it is notified.
void HealthService::NotifyWatchers() {
  std::vector<std::shared_ptr<AsyncSignal>> watchers;
  {
    absl::MutexLock lock(&mutex_);
    watchers.assign(watchers_.begin(), watchers_.end());
  }
  for (const auto& watcher : watchers) watcher->Set();
}

void HealthService::Join(const std::shared_ptr<AsyncSignal>& watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.insert(watcher);
}

void HealthService::Leave(const std::shared_ptr<AsyncSignal>& watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(watcher);
}

void HealthService::Accept(CallQueue& queue, GrpcStream::Shared& shared) {
  ServeCheck(queue, shared);
  ServeWatch(queue, shared);
}

Detached HealthService::ServeCheck(CallQueue& queue, GrpcStream::Shared& shared) {
  const CallQueue::Use use(queue);
  grpc::ServerContext context;
  ByteStream wire(&context);
  Completion accepted(
      [&](void* tag) { service_.Accept(kCheck, &context, &wire, queue.get(), tag); });
  if (!co_await accepted) co_return;  // Shutting down.
  ServeCheck(queue, shared);

  GrpcBody body(wire, queue.waits(), shared.draining);
  absl::Status sound = co_await body;
  if (sound.ok() && body.missing()) sound = MissingMessage();
  HealthCheckRequest request;
  if (sound.ok()) sound = ParseRequest(body.bytes(), &request);
  grpc::Status status = ToGrpcStatus(sound);
  HealthCheckResponse response;
  if (sound.ok()) response.set_status(StatusOf(request.service()));
  if (response.status() == HealthCheckResponse::SERVICE_UNKNOWN) {
    status = {grpc::StatusCode::NOT_FOUND,
              "No such service is served here: leave `service` empty to ask for the daemon."};
  }
  grpc::ByteBuffer reply;
  SerializeReply(response, &reply).IgnoreError();
  ReplyWait wait(ReplyWait::Of::kCall, context, queue.waits().patience(), nullptr);
  queue.waits().Begin(wait);
  Completion finished([&](void* tag) {
    if (status.ok()) {
      wire.WriteAndFinish(reply, {}, status, tag);
    } else {
      wire.Finish(status, tag);
    }
  });
  co_await finished;
  queue.waits().End(wait);
  co_await body.Settled();
}

Detached HealthService::ServeWatch(CallQueue& queue, GrpcStream::Shared& shared) {
  const CallQueue::Use use(queue);
  grpc::ServerContext context;
  GrpcStream stream(context, queue, shared, /*one_request=*/true);
  Completion accepted(
      [&](void* tag) { service_.Accept(kWatch, &context, &stream.wire(), queue.get(), tag); });
  if (!co_await accepted) co_return;  // Shutting down.
  ServeWatch(queue, shared);

  Awaitable<absl::Status> sending = SendStatuses(stream);
  const absl::Status ended = co_await sending;
  Awaitable<void> finished = stream.Finish(ToGrpcStatus(stream.EndOf(ended)));
  co_await finished;
}

Awaitable<absl::Status> HealthService::SendStatuses(GrpcStream& stream) {
  Awaitable<std::optional<grpc::ByteBuffer>> reading = stream.Read();
  std::optional<grpc::ByteBuffer> bytes = co_await reading;
  if (!bytes.has_value()) co_return MissingMessage();
  HealthCheckRequest request;
  if (absl::Status sound = ParseRequest(*bytes, &request); !sound.ok()) co_return sound;
  const std::shared_ptr<AsyncSignal> news(stream.news(), &stream.news()->signal);
  Join(news);
  std::optional<Status> last_sent;
  while (!stream.over()) {
    const bool last = ended();
    const Status status = StatusOf(request.service());
    if (last_sent != status) {
      last_sent = status;
      HealthCheckResponse response;
      response.set_status(status);
      grpc::ByteBuffer message;
      SerializeReply(response, &message).IgnoreError();
      Awaitable<bool> writing = stream.Write(message, Flush::kNow);
      if (!co_await writing) break;
    } else if (last) {
      break;
    } else {
      co_await news->Wait();
    }
  }
  Leave(news);
  co_return Draining("Watch another one.");
}

}  // namespace sessiond::rpc
