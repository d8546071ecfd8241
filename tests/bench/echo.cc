// The echo is the daemon's own server with other handlers: the same raw bytes, coroutines, queues,
// validation and metrics. What a call costs more than this is the daemon's decisions and
// PostgreSQL's.
#include "tests/bench/echo.h"

#include <iostream>
#include <limits>

#include "server/config/address.h"
#include "server/ops/journal.h"
#include "server/ops/metrics.h"
#include "server/rpc/serialized.h"
#include "server/rpc/server.h"
#include "server/rpc/services.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "tests/bench/commands.h"

namespace sessiond::bench {
namespace {

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

// Answers every call at once, with a copy of one session that has what the request named.
class EchoService {
 public:
  sessiond::Answer<v1::Session> Create(rpc::CallInfo, v1::CreateSessionRequest) {
    co_return session_;
  }

  sessiond::Answer<v1::Session> Get(rpc::CallInfo, v1::GetSessionRequest request) {
    co_return Of(request.session_id());
  }

  sessiond::Answer<v1::Session> Update(rpc::CallInfo, v1::UpdateSessionRequest request) {
    co_return Of(request.session().session_id());
  }

  sessiond::Answer<v1::Session> Advance(rpc::CallInfo, v1::AdvanceSessionRequest request) {
    v1::Session session = Of(request.session_id());
    session.set_stage(request.target_stage());
    co_return session;
  }

  sessiond::Answer<v1::AppendMessagesResponse> Append(rpc::CallInfo,
                                                      v1::AppendMessagesRequest request) {
    v1::AppendMessagesResponse response;
    response.set_first_sequence(1);
    response.set_last_sequence(request.messages_size());
    *response.mutable_session() = Of(request.session_id());
    co_return response;
  }

 private:
  v1::Session Of(const std::string& id) const {
    v1::Session session = session_;
    session.set_session_id(id);
    return session;
  }

  const v1::Session session_ = CommonSession();
};

}  // namespace

int RunEcho(const std::string& address) {
  EchoService service;
  Metrics metrics({rpc::MethodOf<v1::GetSessionRequest>()->service()->full_name(),
                   rpc::MethodOf<v1::AppendMessagesRequest>()->service()->full_name()});
  Journal journal(metrics);
  rpc::Dispatcher dispatcher(
      {rpc::Bind(service, &EchoService::Create), rpc::Bind(service, &EchoService::Get),
       rpc::Bind(service, &EchoService::Update), rpc::Bind(service, &EchoService::Advance),
       rpc::Bind(service, &EchoService::Append)},
      nullptr, metrics, journal);
  const auto server = rpc::Server::Start(
      {.listeners = {{ParseAddress(address).value()}}, .dispatcher = &dispatcher}, metrics);
  if (!server.ok()) {
    absl::FPrintF(stderr, "sessiond_bench: %s; is something else there?\n",
                  server.status().message());
    return 1;
  }
  Answer("{\"port\": %d}", (*server)->bound().front().port);
  std::cin.ignore(std::numeric_limits<std::streamsize>::max());
  return 0;
}

}  // namespace sessiond::bench
