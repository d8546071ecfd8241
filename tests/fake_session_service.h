// A SessionService in this process, for the tests of the client: it refuses as told, and remembers
// what it was asked.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/server_builder.h"
#include "sessiond/v1/session_service.grpc.pb.h"
#include "tests/fake_services.h"
#include "tests/on_the_wire.h"

namespace sessiond {

class FakeSessionService final : public v1::SessionService::Service {
 public:
  // The next calls are answered with these, in this order, and those after them go well.
  void RefuseNext(absl::Status status, int times = 1) {
    absl::MutexLock lock(&mutex_);
    refusals_.insert(refusals_.end(), times, OnTheWire(status));
  }
  // What GetSession, changes and LookupSessions answer with, under the id that was asked for.
  void Hold(v1::Session session) {
    absl::MutexLock lock(&mutex_);
    session_ = std::move(session);
  }
  // What lists answer with, a page each.
  void HoldPages(std::vector<std::vector<v1::Session>> pages) {
    absl::MutexLock lock(&mutex_);
    pages_ = std::move(pages);
  }
  void HoldEvents(std::vector<v1::SessionEvent> events) {
    absl::MutexLock lock(&mutex_);
    events_ = std::move(events);
  }
  // What CountSessions answers with.
  void HoldTotal(int total) {
    absl::MutexLock lock(&mutex_);
    total_ = total;
  }
  // What the next stream of WatchSessions sends, and the status that it ends with then; without one
  // it stays open. Streams that nothing was said about stay open from the beginning.
  void NextWatch(std::vector<v1::WatchSessionsResponse> responses,
                 std::optional<absl::Status> end = std::nullopt) {
    absl::MutexLock lock(&mutex_);
    watches_.push_back({std::move(responses), std::move(end)});
  }
  // Sends more on the stream that is open, or on the next one.
  void Tell(v1::WatchSessionsResponse response) {
    absl::MutexLock lock(&mutex_);
    told_.push_back(std::move(response));
  }
  // Waits for streams of WatchSessions: so many have begun by now.
  void AwaitWatches(int count) const {
    absl::MutexLock lock(&mutex_);
    const auto begun = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return watches_begun_ >= count;
    };
    mutex_.Await(absl::Condition(&begun));
  }
  // Waits for requests of any kind: so many have come by now.
  void AwaitRequests(std::size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto come = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return requests_.size() >= count;
    };
    mutex_.Await(absl::Condition(&come));
  }
  // Requests as short debug strings, oldest first; and the request ids of those that carry one.
  std::vector<std::string> Requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  std::vector<std::string> RequestIds() const {
    absl::MutexLock lock(&mutex_);
    return request_ids_;
  }

  using Context = grpc::ServerContext;
  // A change of the session that the request names.
#define FAKE_CHANGE(Method)                                                                \
  grpc::Status Method(Context*, const v1::Method##Request* request, v1::Session* response) \
      override {                                                                           \
    return Change(*request, request->session_id(), response);                              \
  }
  FAKE_CHANGE(CreateSession)
  FAKE_CHANGE(AdvanceSession)
  FAKE_CHANGE(PauseSession)
  FAKE_CHANGE(RecoverSession)
  FAKE_CHANGE(DeleteSession)
#undef FAKE_CHANGE
  grpc::Status UpdateSession(Context*, const v1::UpdateSessionRequest* request,
                             v1::Session* response) override {
    return Change(*request, request->session().session_id(), response);
  }
  grpc::Status ListRecoverableSessions(Context*, const v1::ListRecoverableSessionsRequest* request,
                                       v1::ListRecoverableSessionsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Next(*request); !status.ok()) return status;
    for (const auto& page : pages_) {
      for (const v1::Session& session : page) *response->add_sessions() = session;
    }
    return grpc::Status::OK;
  }
  grpc::Status GetSession(Context*, const v1::GetSessionRequest* request,
                          v1::Session* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Next(*request); !status.ok()) return status;
    *response = session_;
    response->set_session_id(request->session_id());
    return grpc::Status::OK;
  }
  grpc::Status LookupSessions(Context*, const v1::LookupSessionsRequest* request,
                              v1::LookupSessionsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Next(*request); !status.ok()) return status;
    for (const std::string& id : request->session_ids()) {
      auto* result = response->add_results();
      result->set_session_id(id);
      result->set_reason(v1::SessionLookup::NEVER_EXISTED);
    }
    return grpc::Status::OK;
  }
  grpc::Status ListSessions(Context*, const v1::ListSessionsRequest* request,
                            v1::ListSessionsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Next(*request); !status.ok()) return status;
    const std::size_t page = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    if (page >= pages_.size()) return grpc::Status::OK;
    for (const v1::Session& session : pages_[page]) *response->add_sessions() = session;
    if (page + 1 < pages_.size()) response->set_next_page_token(absl::StrCat(page + 1));
    return grpc::Status::OK;
  }
  grpc::Status CountSessions(Context*, const v1::CountSessionsRequest* request,
                             v1::CountSessionsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    response->set_total(total_);
    return Next(*request);
  }
  grpc::Status ListSessionEvents(Context*, const v1::ListSessionEventsRequest* request,
                                 v1::ListSessionEventsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    if (const grpc::Status status = Next(*request); !status.ok()) return status;
    for (const v1::SessionEvent& event : events_) *response->add_events() = event;
    return grpc::Status::OK;
  }
  grpc::Status WatchSessions(Context* context, const v1::WatchSessionsRequest* request,
                             grpc::ServerWriter<v1::WatchSessionsResponse>* stream) override {
    FakeWatch watch;
    {
      absl::MutexLock lock(&mutex_);
      ++watches_begun_;
      if (const grpc::Status status = Next(*request); !status.ok()) return status;
      if (!watches_.empty()) {
        watch = std::move(watches_.front());
        watches_.pop_front();
      }
    }
    for (const auto& response : watch.responses) stream->Write(response);
    if (watch.end.has_value()) return OnTheWire(*watch.end);
    // A synchronous server has no other way to hear that its client left.
    while (!context->IsCancelled()) {
      v1::WatchSessionsResponse response;
      {
        absl::MutexLock lock(&mutex_);
        const auto told = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !told_.empty(); };
        if (!mutex_.AwaitWithTimeout(absl::Condition(&told), absl::Milliseconds(5))) continue;
        response = std::move(told_.front());
        told_.pop_front();
      }
      stream->Write(response);
    }
    return grpc::Status::CANCELLED;
  }

 private:
  struct FakeWatch {
    std::vector<v1::WatchSessionsResponse> responses;
    std::optional<absl::Status> end;
  };

  template <class Request>
  grpc::Status Next(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    requests_.push_back(request.ShortDebugString());
    if (refusals_.empty()) return grpc::Status::OK;
    grpc::Status status = std::move(refusals_.front());
    refusals_.pop_front();
    return status;
  }
  template <class Request>
  grpc::Status Change(const Request& request, const std::string& session_id,
                      v1::Session* response) {
    absl::MutexLock lock(&mutex_);
    request_ids_.push_back(request.request_id());
    if (const grpc::Status status = Next(request); !status.ok()) return status;
    *response = session_;
    if (!session_id.empty()) response->set_session_id(session_id);
    return grpc::Status::OK;
  }

  mutable absl::Mutex mutex_;
  std::deque<grpc::Status> refusals_ ABSL_GUARDED_BY(mutex_);
  v1::Session session_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<v1::Session>> pages_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SessionEvent> events_ ABSL_GUARDED_BY(mutex_);
  int total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<FakeWatch> watches_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::WatchSessionsResponse> told_ ABSL_GUARDED_BY(mutex_);
  int watches_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> request_ids_ ABSL_GUARDED_BY(mutex_);
};

class FakeHealth final : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    using Response = grpc::health::v1::HealthCheckResponse;
    if (request->service() == "unknown") return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    response->set_status(request->service() == "ill" ? Response::NOT_SERVING : Response::SERVING);
    return grpc::Status::OK;
  }
};

// What every call, of whatever service, brought as its `authorization`; empty for nothing.
class FakeDoor {
 public:
  std::vector<std::string> Authorizations() const {
    absl::MutexLock lock(&mutex_);
    return authorizations_;
  }
  void Note(std::string authorization) {
    absl::MutexLock lock(&mutex_);
    authorizations_.push_back(std::move(authorization));
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> authorizations_ ABSL_GUARDED_BY(mutex_);
};

class FakeDoorInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit FakeDoorInterceptor(FakeDoor& door) : door_(door) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      const auto* metadata = methods->GetRecvInitialMetadata();
      const auto found = metadata->find("authorization");
      door_.Note(
          found == metadata->end() ? "" : std::string(found->second.data(), found->second.size()));
    }
    methods->Proceed();
  }

 private:
  FakeDoor& door_;
};

class FakeDoorInterceptors final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit FakeDoorInterceptors(FakeDoor& door) : door_(door) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo*) override {
    return new FakeDoorInterceptor(door_);  // gRPC deletes it with its call.
  }

 private:
  FakeDoor& door_;
};

// Serves all of them on a free port of the loopback, or where told, until it is destroyed.
class FakeServer {
 public:
  explicit FakeServer(const std::string& address = "127.0.0.1:0",
                      const std::shared_ptr<grpc::ServerCredentials>& credentials =
                          grpc::InsecureServerCredentials()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, credentials, &port_);
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> doors;
    doors.push_back(std::make_unique<FakeDoorInterceptors>(door));
    builder.experimental().SetInterceptorCreators(std::move(doors));
    builder.RegisterService(&sessions);
    builder.RegisterService(&tasks);
    builder.RegisterService(&errors);
    builder.RegisterService(&messages);
    builder.RegisterService(&artifacts);
    builder.RegisterService(&workflows);
    builder.RegisterService(&admin);
    builder.RegisterService(&health);
    server_ = builder.BuildAndStart();
  }
  // Cancels the streams that are still open.
  ~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string Address() const { return absl::StrCat("127.0.0.1:", port_); }
  int port() const { return port_; }

  FakeDoor door;
  FakeSessionService sessions;
  FakeCalls calls;  // Of all the services below.
  FakeTaskService tasks{calls};
  FakeErrorService errors{calls};
  FakeMessageService messages{calls};
  FakeArtifactService artifacts{calls};
  FakeWorkflowService workflows{calls};
  FakeAdminService admin{calls};
  FakeHealth health;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace sessiond
