#include "server/ops/health.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sessiond {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// ------------------------------------------------------------------------------------- Readiness

void Readiness::Observe(const absl::StatusOr<int>& schema_version, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  schema_version_ = schema_version;
  if (schema_version.ok()) last_success_ = now;
}

void Readiness::StartDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

Readiness::Check Readiness::DatabaseCheck(absl::Time now) const {
  if (schema_version_.ok()) {
    return {"database", true, absl::StrCat("reachable, schema ", *schema_version_)};
  }
  const std::string said(schema_version_.status().message());
  if (absl::IsFailedPrecondition(schema_version_.status())) return {"database", false, said};
  if (last_success_ == absl::InfinitePast())
    return {"database", false, absl::StrCat("never reached: ", said)};
  const absl::Duration out = now - last_success_;
  return {"database", out <= database_grace_,
          absl::StrCat("out of reach for ",
                       absl::FormatDuration(absl::Trunc(out, absl::Seconds(1))), ": ", said)};
}

std::vector<Readiness::Check> Readiness::Checks(absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  return {DatabaseCheck(now), {"serving", !draining_, draining_ ? "draining" : "not draining"}};
}

bool Readiness::ready(absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  return !draining_ && DatabaseCheck(now).ok;
}

// --------------------------------------------------------------------------------- HealthService

// One Watch. Writes one status at a time; what changes meanwhile is written next, and only the last
// of it.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse>,
                                     public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(HealthService& service, std::string name) : service_(service), name_(std::move(name)) {}

  // Writes the present status if it is not the one last written, or ends the stream if it is time
  // to. Calls into gRPC without the lock, because gRPC may answer on this very thread; `busy_`
  // keeps the order.
  void Advance() {
    bool finish = false;
    {
      absl::MutexLock lock(&service_.mutex_);
      if (busy_ || finished_) return;
      const Status status = service_.StatusOf(name_);
      if (cancelled_ || (service_.ended_ && last_ == status)) {
        finish = finished_ = true;
      } else if (last_ == status) {
        return;
      } else {
        busy_ = true;
        last_ = status;
        response_.set_status(status);
      }
    }
    if (finish) {
      Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                          "The daemon is draining: watch another one."));
    } else {
      StartWrite(&response_);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&service_.mutex_);
      busy_ = false;
      cancelled_ |= !ok;
    }
    Advance();
  }

  void OnCancel() override {
    {
      absl::MutexLock lock(&service_.mutex_);
      cancelled_ = true;
    }
    Advance();
  }

  void OnDone() override { service_.Forget(this); }

 private:
  HealthService& service_;
  const std::string name_;
  // Guarded by service_.mutex_.
  std::optional<Status> last_;
  bool busy_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
  // Touched only by whoever set busy_.
  HealthCheckResponse response_;
};

HealthService::HealthService(absl::Span<const std::string> services)
    : services_(services.begin(), services.end()) {
  services_.insert("");
}

HealthService::~HealthService() = default;

HealthService::Status HealthService::StatusOf(const std::string& service) const {
  if (service == "liveness") return HealthCheckResponse::SERVING;
  if (!services_.contains(service)) return HealthCheckResponse::SERVICE_UNKNOWN;
  return ready_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

std::vector<std::shared_ptr<HealthService::Watcher>> HealthService::Watchers() const {
  absl::MutexLock lock(&mutex_);
  return {watchers_.begin(), watchers_.end()};
}

void HealthService::Forget(Watcher* watcher) {
  absl::MutexLock lock(&mutex_);
  watchers_.erase(watcher->shared_from_this());
}

void HealthService::SetReady(bool ready) {
  {
    absl::MutexLock lock(&mutex_);
    ready_ = ready;
  }
  for (const auto& watcher : Watchers()) watcher->Advance();
}

void HealthService::EndStreams() {
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  for (const auto& watcher : Watchers()) watcher->Advance();
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  {
    absl::MutexLock lock(&mutex_);
    response->set_status(StatusOf(request->service()));
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(
      response->status() == HealthCheckResponse::SERVICE_UNKNOWN
          ? grpc::Status(
                grpc::StatusCode::NOT_FOUND,
                "No such service is served here: leave `service` empty to ask for the daemon.")
          : grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto watcher = std::make_shared<Watcher>(*this, request->service());
  {
    absl::MutexLock lock(&mutex_);
    watchers_.insert(watcher);
  }
  watcher->Advance();
  return watcher.get();
}

}  // namespace sessiond
