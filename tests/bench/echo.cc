// The echo stands on the same transport as the daemon, with the same messages: what a call costs
// more than this is the daemon's and PostgreSQL's.
#include "tests/bench/echo.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "sessiond/v1/session_service.grpc.pb.h"

namespace sessiond::bench {
namespace {

using Service = v1::SessionService::AsyncService;

// As many calls of each method are awaited at any time, so that a burst finds them posted.
constexpr int kPosted = 256;

// A session as the benchmark's are, half-way through its workflow.
v1::Session CommonSession() {
  v1::Session session;
  session.set_session_id("0192f3c4-9f2e-7abc-8def-0123456789ab");
  session.set_namespace_("default");
  session.set_workflow("ticket_export");
  session.set_workflow_revision(1);
  session.set_owner_id("user-1234");
  session.set_owner_display_name("Ada Lovelace");
  session.set_state(v1::Session::ACTIVE);
  session.set_stage("processing");
  session.set_stage_display_name("Processing");
  session.set_next_stage("review");
  session.set_status("active");
  auto& context = *session.mutable_context()->mutable_fields();
  context["site_name"].set_string_value("Harbour Street 12345");
  context["site_description"].set_string_value(
      "Two production halls and an office wing; access over the north gate, keys at the porter, "
      "photos attached");
  context["jira_project_key"].set_string_value("SITE");
  context["llm_provider_choice"].set_string_value("anthropic");
  (*session.mutable_counters())["total_tickets_generated"] = 7;
  (*session.mutable_labels())["team"] = "team-42";
  session.set_recoverable(true);
  session.mutable_create_time()->set_seconds(1767225600);
  session.mutable_create_time()->set_nanos(123456000);
  *session.mutable_update_time() = session.create_time();
  *session.mutable_recover_before_time() = session.create_time();
  session.set_sequence(3);
  session.set_revision(3);
  session.set_etag("AAAAAw");
  return session;
}

struct Awaited {
  virtual ~Awaited() = default;
  // Goes on with what gRPC has done; `ok` is false when it did not.
  virtual void Continue(bool ok) = 0;
};

// One call of a method, awaited, answered, and replaced by its successor.
template <class Request, auto kRequestMethod>
class EchoCall final : public Awaited {
 public:
  EchoCall(Service& service, grpc::ServerCompletionQueue& queue, const v1::Session& reply)
      : service_(service), queue_(queue), reply_(reply), writer_(&context_) {
    (service_.*kRequestMethod)(&context_, &request_, &writer_, &queue_, &queue_, this);
  }

  void Continue(bool ok) override {
    if (!ok || std::exchange(answered_, true)) {
      delete this;
      return;
    }
    new EchoCall(service_, queue_, reply_);
    v1::Session reply = reply_;
    if constexpr (requires { request_.target_stage(); }) reply.set_stage(request_.target_stage());
    if constexpr (requires { request_.session_id(); }) {
      if (!request_.session_id().empty()) reply.set_session_id(request_.session_id());
    }
    writer_.Finish(reply, grpc::Status::OK, this);
  }

 private:
  Service& service_;
  grpc::ServerCompletionQueue& queue_;
  const v1::Session& reply_;
  grpc::ServerContext context_;
  Request request_;
  grpc::ServerAsyncResponseWriter<v1::Session> writer_;
  bool answered_ = false;
};

using EchoCreate = EchoCall<v1::CreateSessionRequest, &Service::RequestCreateSession>;
using EchoAdvance = EchoCall<v1::AdvanceSessionRequest, &Service::RequestAdvanceSession>;
using EchoUpdate = EchoCall<v1::UpdateSessionRequest, &Service::RequestUpdateSession>;
using EchoGet = EchoCall<v1::GetSessionRequest, &Service::RequestGetSession>;

}  // namespace

int RunEcho(const std::string& address) {
  const v1::Session reply = CommonSession();
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    absl::FPrintF(stderr, "sessiond_bench: cannot listen on %s; is something else there?\n",
                  address);
    return 1;
  }
  for (int i = 0; i < kPosted; ++i) {
    new EchoCreate(service, *queue, reply);
    new EchoAdvance(service, *queue, reply);
    new EchoUpdate(service, *queue, reply);
    new EchoGet(service, *queue, reply);
  }
  absl::PrintF("{\"port\": %d}\n", port);
  std::fflush(stdout);

  std::thread stopper([&] {
    std::cin.ignore(std::numeric_limits<std::streamsize>::max());
    server->Shutdown(std::chrono::system_clock::now());
    queue->Shutdown();
  });
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Awaited*>(tag)->Continue(ok);
  stopper.join();
  return 0;
}

}  // namespace sessiond::bench
