// The adapter of this client for the conformance suite: it answers requests on stdin, JSON lines,
// on stdout. docs/conformance.md says what they are.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <variant>

#include "absl/strings/str_cat.h"
#include "conformance/adapter.h"
#include "sessiond/connect.h"

namespace sessiond::conformance {
namespace {

// The library's clients by the type of their methods.
const SessionClient& Of(const Client& client, const SessionClient*) { return client.sessions(); }
const TaskClient& Of(const Client& client, const TaskClient*) { return client.tasks(); }
const ErrorClient& Of(const Client& client, const ErrorClient*) { return client.errors(); }
const MessageClient& Of(const Client& client, const MessageClient*) { return client.messages(); }
const ArtifactClient& Of(const Client& client, const ArtifactClient*) { return client.artifacts(); }
const WorkflowClient& Of(const Client& client, const WorkflowClient*) { return client.workflows(); }
const AdminClient& Of(const Client& client, const AdminClient*) { return client.admin(); }

using Op = std::function<Answer(const Client&, const Json& args, const Json& options)>;

template <class Service, class Request, class Response>
Op Call(absl::StatusOr<Response> (Service::*method)(Request) const) {
  return [method](const Client& client, const Json& args, const Json&) -> Answer {
    const Service& service = Of(client, static_cast<const Service*>(nullptr));
    auto response = (service.*method)(Read<Request>(args));
    if (!response.ok()) return response.status();
    return Plain(*response);
  };
}

template <class Service, class Request, class Item>
Op List(StreamRange<Item> (Service::*method)(Request) const) {
  return [method](const Client& client, const Json& args, const Json& options) -> Answer {
    const Service& service = Of(client, static_cast<const Service*>(nullptr));
    const std::size_t take = options.value("take", std::size_t{SIZE_MAX});
    Json items = Json::array();
    auto range = (service.*method)(Read<Request>(args));
    for (auto item = range.begin(); items.size() < take && item != range.end(); ++item) {
      if (!item->ok()) return item->status();
      items.push_back(Plain(**item));
      if (items.size() == take) break;  // The next step may read a page.
    }
    return Json{{"items", items}};
  };
}

// Its one answer is a list, which has no pages.
Answer ListRecoverable(const Client& client, const Json& args, const Json&) {
  auto response =
      client.sessions().ListRecoverableSessions(Read<v1::ListRecoverableSessionsRequest>(args));
  if (!response.ok()) return response.status();
  return Json{{"items", PlainAll(response->sessions())}};
}

const std::map<std::string, Op>& Ops() {
  static const std::map<std::string, Op> ops = {
      {"create_session", Call(&SessionClient::CreateSession)},
      {"activate_session", Call(&SessionClient::ActivateSession)},
      {"get_session", Call(&SessionClient::GetSession)},
      {"lookup_sessions", Call(&SessionClient::LookupSessions)},
      {"count_sessions", Call(&SessionClient::CountSessions)},
      {"update_session", Call(&SessionClient::UpdateSession)},
      {"advance_session", Call(&SessionClient::AdvanceSession)},
      {"pause_session", Call(&SessionClient::PauseSession)},
      {"resume_session", Call(&SessionClient::ResumeSession)},
      {"stop_session", Call(&SessionClient::StopSession)},
      {"fail_session", Call(&SessionClient::FailSession)},
      {"recover_session", Call(&SessionClient::RecoverSession)},
      {"delete_session", Call(&SessionClient::DeleteSession)},
      {"undelete_session", Call(&SessionClient::UndeleteSession)},
      {"list_sessions", List(&SessionClient::ListSessions)},
      {"list_session_events", List(&SessionClient::ListSessionEvents)},
      {"list_recoverable_sessions", ListRecoverable},
      {"start_task", Call(&TaskClient::StartTask)},
      {"get_task", Call(&TaskClient::GetTask)},
      {"report_task_progress", Call(&TaskClient::ReportTaskProgress)},
      {"complete_task", Call(&TaskClient::CompleteTask)},
      {"fail_task", Call(&TaskClient::FailTask)},
      {"cancel_task", Call(&TaskClient::CancelTask)},
      {"retry_task", Call(&TaskClient::RetryTask)},
      {"list_tasks", List(&TaskClient::ListTasks)},
      {"record_error", Call(&ErrorClient::RecordError)},
      {"get_error", Call(&ErrorClient::GetError)},
      {"resolve_error", Call(&ErrorClient::ResolveError)},
      {"summarize_errors", Call(&ErrorClient::SummarizeErrors)},
      {"list_errors", List(&ErrorClient::ListErrors)},
      {"append_messages", Call(&MessageClient::AppendMessages)},
      {"list_messages", List(&MessageClient::ListMessages)},
      {"add_artifacts", Call(&ArtifactClient::AddArtifacts)},
      {"delete_artifact", Call(&ArtifactClient::DeleteArtifact)},
      {"list_artifacts", List(&ArtifactClient::ListArtifacts)},
      {"get_workflow", Call(&WorkflowClient::GetWorkflow)},
      {"create_workflow", Call(&WorkflowClient::CreateWorkflow)},
      {"validate_workflow", Call(&WorkflowClient::ValidateWorkflow)},
      {"list_workflows", List(&WorkflowClient::ListWorkflows)},
      {"erase_owner", Call(&AdminClient::EraseOwner)},
      {"detach_reference", Call(&AdminClient::DetachReference)},
      {"purge_sessions", Call(&AdminClient::PurgeSessions)},
      {"get_server_info", Call(&AdminClient::GetServerInfo)},
      {"run_task", RunScript},
  };
  return ops;
}

absl::StatusOr<Client> Connect(const Json& args) {
  ConnectOptions options;
  options.server = args.value("address", "");
  if (args.contains("timeout_s")) options.calls.timeout = Seconds(args["timeout_s"]);
  options.calls.on_call = [](const CallRecord& call) {
    std::cerr << absl::StrCat(call.method, " ", absl::StatusCodeToString(call.status.code()), " ",
                              absl::FormatDuration(call.duration), "\n");
  };
  if (const auto trace = args.find("traceparent"); trace != args.end()) {
    options.calls.prepare = [value = trace->get<std::string>()](grpc::ClientContext& context) {
      context.AddMetadata("traceparent", value);
    };
  }
  Credentials credentials;
  credentials.token = args.value("token", "");
  if (args.value("token_callback", false)) {
    credentials.get_token = [asked = std::make_shared<std::atomic<int>>()] {
      return absl::StatusOr<std::string>(absl::StrCat("token-", ++*asked));
    };
  }
  if (args.contains("ca_file")) {
    credentials.tls = TlsOptions{.ca_file = args["ca_file"],
                                 .cert_file = args.value("cert_file", ""),
                                 .key_file = args.value("key_file", ""),
                                 .server_name = "localhost"};
  }
  if (credentials.tls.has_value() || credentials.get_token || !credentials.token.empty()) {
    options.credentials = std::move(credentials);
  }
  const Json environment = args.value("environment", Json::object());
  for (const auto& [name, value] : environment.items()) {
    setenv(name.c_str(), value.get<std::string>().c_str(), /*overwrite=*/1);
  }
  auto client = Client::Connect(std::move(options));
  for (const auto& [name, value] : environment.items()) unsetenv(name.c_str());
  return client;
}

// The clients and watches by their names, and the requests that are being served.
class Adapter {
 public:
  // Serves a request on a thread of its own.
  void Take(std::string line) {
    {
      const std::lock_guard lock(mutex_);
      ++serving_;
    }
    std::thread([this, line = std::move(line)] {
      const std::string answer = Serve(line);
      const std::lock_guard lock(mutex_);
      std::cout << answer << std::endl;
      --serving_;
      served_.notify_all();
    }).detach();
  }
  // Waits for all that is being served.
  ~Adapter() {
    std::unique_lock lock(mutex_);
    for (auto& [name, client] : clients_) client.Close();
    served_.wait(lock, [this] { return serving_ == 0; });
  }

 private:
  std::string Serve(const std::string& line) {
    Json answer;
    try {
      const Json request = Json::parse(line);
      answer["id"] = request.at("id");
      const Answer did = Do(request);
      if (const auto* ok = std::get_if<Json>(&did)) {
        answer["ok"] = *ok;
      } else {
        answer["error"] = Describe(std::get<absl::Status>(did));
      }
    } catch (const Unsupported& unsupported) {
      answer["unsupported"] = unsupported.what();
    } catch (const std::exception& exception) {
      answer["broken"] = exception.what();
    }
    return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  Answer Do(const Json& request) {
    const std::string op = request.at("op");
    const Json args = request.value("args", Json::object());
    const Json options = request.value("options", Json::object());
    if (op == "hello") return Json{{"language", "cpp"}, {"version", Version()}, {"protocol", 1}};
    const std::string name = request.at("client");
    if (op == "connect") {
      auto client = Connect(args);
      if (!client.ok()) return client.status();
      const std::lock_guard lock(mutex_);
      clients_.insert_or_assign(name, *std::move(client));
      return Json::object();
    }
    // Asked for by its own name: its client may be closed by now.
    if (op.starts_with("watch_") && op != "watch_open") return Watch(op, args);
    Client client = ClientNamed(name);
    if (op == "disconnect") {
      client.Close();
      const std::lock_guard lock(mutex_);
      clients_.erase(name);
      return Json::object();
    }
    if (op == "watch_open") {
      auto watch = std::make_shared<NamedWatch>(client, args.at("request"),
                                                Seconds(options.value("silence_s", 0.0)));
      const std::lock_guard lock(mutex_);
      watches_.insert_or_assign(args.at("watch"), std::move(watch));
      return Json::object();
    }
    const auto found = Ops().find(op);
    if (found == Ops().end()) throw Unsupported("there is no op " + op);
    if (options.contains("timeout_s")) client = client.WithTimeout(Seconds(options["timeout_s"]));
    return found->second(client, args, options);
  }

  Client ClientNamed(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto found = clients_.find(name);
    if (found == clients_.end()) throw std::runtime_error("there is no client " + name);
    return found->second;
  }

  Answer Watch(const std::string& op, const Json& args) {
    std::shared_ptr<NamedWatch> watch;
    {
      const std::lock_guard lock(mutex_);
      watch = watches_.at(args.at("watch"));
    }
    if (op == "watch_next") return watch->Next(Seconds(args.at("timeout_s")));
    if (op == "watch_token") return Json{{"token", watch->token()}};
    if (op != "watch_close") throw Unsupported("there is no op " + op);
    watch->Close();
    return Json::object();
  }

  std::mutex mutex_;
  std::condition_variable served_;
  int serving_ = 0;
  std::map<std::string, Client> clients_;
  std::map<std::string, std::shared_ptr<NamedWatch>> watches_;
};

}  // namespace
}  // namespace sessiond::conformance

int main() {
  sessiond::conformance::Adapter adapter;
  for (std::string line; std::getline(std::cin, line);) adapter.Take(std::move(line));
}
