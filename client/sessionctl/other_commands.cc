// `sessionctl call`, `health`, `version` and `completion`.
#include <memory>

#include "CLI/App.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "client/legacy/exact_json.h"
#include "client/sessionctl/contexts.h"
#include "client/sessionctl/errors.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/run.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/dynamic_message.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "proto/embedded.h"

namespace sessiond::ctl {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

// Every service of the contract, by name, from the linked descriptor set: no RPC needs code of its
// own here.
class Contract {
 public:
  Contract() {
    google::protobuf::FileDescriptorSet files;
    files.ParseFromArray(DescriptorSet().data(), static_cast<int>(DescriptorSet().size()));
    for (const auto& file : files.file()) {
      const auto* built = pool_.BuildFile(file);
      for (int i = 0; i < built->service_count(); ++i) AddMethods(*built->service(i));
    }
  }
  const std::vector<const MethodDescriptor*>& Methods() const { return methods_; }
  const std::vector<const MethodDescriptor*>& Streams() const { return streams_; }
  std::unique_ptr<Message> New(const google::protobuf::Descriptor* type) {
    return std::unique_ptr<Message>(factory_.GetPrototype(type)->New());
  }

 private:
  void AddMethods(const google::protobuf::ServiceDescriptor& service) {
    for (int i = 0; i < service.method_count(); ++i) {
      const MethodDescriptor* method = service.method(i);
      const bool streams = method->client_streaming() || method->server_streaming();
      (streams ? streams_ : methods_).push_back(method);
    }
  }
  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_{&pool_};
  std::vector<const MethodDescriptor*> methods_, streams_;
};

std::string NameOf(const MethodDescriptor& method) {
  return absl::StrCat(method.service()->full_name(), "/", method.name());
}

// Whether it is the method's full name, or an unambiguous end of it: SessionService/GetSession,
// GetSession.
bool IsCalled(const MethodDescriptor& method, const std::string& name) {
  const std::string full_name = NameOf(method);
  return full_name == name || absl::EndsWith(full_name, absl::StrCat(".", name)) ||
         absl::EndsWith(full_name, absl::StrCat("/", name));
}

// The command that follows a stream.
std::string FollowerOf(const MethodDescriptor& stream) {
  if (stream.name() == "WatchSessions") return "sessionctl session watch -o jsonl";
  if (stream.name() == "ImportSessions") return "sessionctl import";
  return absl::StrCat("grpcurl -plaintext HOST:PORT ", NameOf(stream));
}

const MethodDescriptor* FindMethod(const Contract& contract, const std::string& name) {
  std::vector<std::string> names;
  for (const MethodDescriptor* method : contract.Methods()) {
    if (IsCalled(*method, name)) return method;
    names.push_back(NameOf(*method));
    names.push_back(absl::StrCat(method->service()->name(), "/", method->name()));
    names.push_back(method->name());
  }
  for (const MethodDescriptor* stream : contract.Streams()) {
    if (!IsCalled(*stream, name)) continue;
    throw CLI::ValidationError("call", absl::StrCat(name,
                                                    " is a stream, and call is for what "
                                                    "answers once; its command is: ",
                                                    FollowerOf(*stream)));
  }
  const auto meant = DidYouMean(name, names);
  throw CLI::ValidationError(
      "call", absl::StrCat("there is no method \"", name, "\"",
                           meant.has_value() ? absl::StrCat("; did you mean ", *meant, "?")
                                             : "; sessionctl call --list names them all"));
}

// `-d`: literal JSON, @FILE, or - for stdin.
std::string ReadData(const std::string& data) {
  if (data == "-") return ReadText("-d", data);
  return absl::StartsWith(data, "@") ? ReadText("-d", data.substr(1)) : data;
}

std::string TextField(const Message& message, const std::string& name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated() || field->type() != field->TYPE_STRING) return "";
  return message.GetReflection()->GetString(message, field);
}

// Records the context for explaining errors, and draws a request_id for a change without one.
void Prepare(Run& run, Message& request) {
  const auto* request_id = request.GetDescriptor()->FindFieldByName("request_id");
  if (request_id != nullptr && TextField(request, "request_id").empty()) {
    request.GetReflection()->SetString(&request, request_id, NewRequestId());
  }
  run.request_id = TextField(request, "request_id");
  run.session_id = TextField(request, "session_id");
  if (const auto* session = request.GetDescriptor()->FindFieldByName("session");
      run.session_id.empty() && session != nullptr && session->message_type() != nullptr) {
    run.session_id =
        TextField(request.GetReflection()->GetMessage(request, session, nullptr), "session_id");
  }
  run.error_id = TextField(request, "error_id");
  run.filter = TextField(request, "filter");
}

absl::Status Call(Run& run, const std::string& method_name, const std::string& data) {
  Contract contract;
  const MethodDescriptor* method = FindMethod(contract, method_name);
  const auto request = contract.New(method->input_type());
  const auto response = contract.New(method->output_type());
  const std::string json = ReadData(data);
  if (const absl::Status read = ReadExactJson(json, *request); !read.ok()) {
    const std::string none =
        absl::StrCat("does not make a ", method->input_type()->full_name(), ": ");
    throw CLI::ValidationError(
        "-d", absl::StrCat(absl::IsFailedPrecondition(read) ? none : "", read.message()));
  }
  Prepare(run, *request);
  auto channel = run.Connect();
  if (!channel.ok()) return channel.status();
  grpc::TemplatedGenericStub<Message, Message> stub(*channel);
  const absl::Status status = CallWithRetries(run.Options(), [&](grpc::ClientContext& context) {
    grpc::Status answer;
    absl::Notification answered;
    stub.UnaryCall(&context, "/" + NameOf(*method), {}, request.get(), response.get(),
                   [&](grpc::Status status) {
                     answer = std::move(status);
                     answered.Notify();
                   });
    answered.WaitForNotification();
    return answer;
  });
  if (!status.ok()) return status;
  const std::string answer = ToJson(*response, /*pretty=*/run.format != Format::kJsonLines);
  Print(absl::StrCat(answer, absl::EndsWith(answer, "\n") ? "" : "\n"));
  return absl::OkStatus();
}

absl::Status Health(Run& run, const grpc::health::v1::HealthCheckRequest& request) {
  auto channel = run.Connect();
  if (!channel.ok()) return channel.status();
  const auto stub = grpc::health::v1::Health::NewStub(*channel);
  grpc::health::v1::HealthCheckResponse response;
  const absl::Status status = CallWithRetries(run.Options(), [&](grpc::ClientContext& context) {
    return stub->Check(&context, request, &response);
  });
  if (!status.ok()) return status;
  const bool serving = response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  if (!serving) run.exit_code = kExitNotServing;
  if (IsJson(run.format)) {
    Print(absl::StrCat(ToJson(response, /*pretty=*/false), "\n"));
    return absl::OkStatus();
  }
  const char* paint = !Colored(stdout) ? "" : serving ? color::kGreen : color::kRed;
  Print(absl::StrCat(paint,
                     grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status()),
                     *paint == '\0' ? "" : color::kReset, "\n"));
  return absl::OkStatus();
}

absl::Status Version(Run& run) {
  if (IsJson(run.format)) {
    Print("{\"version\":\"" SESSIOND_VERSION "\"}\n");
  } else {
    Print(absl::StrCat(run.format == Format::kName ? "" : "sessionctl ", SESSIOND_VERSION "\n"));
  }
  return absl::OkStatus();
}

// The scripts only call `sessionctl __complete`, so they are never out of date.
constexpr char kBash[] =
    R"(# bash completion of sessionctl. Try it: source <(sessionctl completion bash)
_sessionctl() {
  local IFS=$'\n'
  COMPREPLY=($(sessionctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _sessionctl sessionctl
)";
constexpr char kZsh[] = R"(#compdef sessionctl
# zsh completion of sessionctl. Try it: source <(sessionctl completion zsh)
_sessionctl() {
  local -a lines
  lines=("${(@f)$(sessionctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  lines=("${(@)lines//:/\\:}")
  lines=("${(@)lines/$'\t'/:}")
  _describe sessionctl lines
}
compdef _sessionctl sessionctl
)";
constexpr char kFish[] =
    R"(# fish completion of sessionctl. Try it: sessionctl completion fish | source
complete -c sessionctl -f -a '(sessionctl __complete (commandline -opc)[2..-1] (commandline -ct))'
)";

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

void AppendCommands(const CLI::App& app, absl::string_view start, std::string& lines) {
  for (const CLI::App* command : app.get_subcommands({})) {
    if (absl::StartsWith(command->get_name(), start)) {
      absl::StrAppend(&lines, command->get_name(), "\t", command->get_description(), "\n");
    }
  }
}

void AppendOptions(const CLI::App& app, absl::string_view start, std::string& lines) {
  for (const CLI::App* level = &app; level != nullptr; level = level->get_parent()) {
    for (const CLI::Option* option : level->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        if (absl::StartsWith("--" + name, start)) {
          absl::StrAppend(&lines, "--", name, "\t", option->get_description(), "\n");
        }
      }
    }
  }
}

// Those that begin like this; none where they cannot be read.
std::string ContextNames(absl::string_view start) {
  std::string lines;
  const auto contexts = ReadContexts();
  if (!contexts.ok()) return lines;
  for (const auto& [name, settings] : contexts->by_name) {
    if (absl::StartsWith(name, start)) {
      absl::StrAppend(&lines, name, "\t", settings.at("server"), "\n");
    }
  }
  return lines;
}

}  // namespace

std::vector<std::string> CallableMethods() {
  std::vector<std::string> names;
  for (const Contract contract; const MethodDescriptor* method : contract.Methods())
    names.push_back(NameOf(*method));
  return names;
}

std::string Complete(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return "";
  const CLI::App* command = &app;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (const CLI::App* below = FindCommand(*command, words[i])) command = below;
  }
  const std::string& start = words.back();
  const std::string before = words.size() > 1 ? words[words.size() - 2] : "";
  std::string lines;
  if (before == "-o" || before == "--output") return "table\njson\njsonl\nname\n";
  const std::string of = command->get_parent() == nullptr ? "" : command->get_parent()->get_name();
  const bool named = command->get_name() == "use" || command->get_name() == "show" ||
                     command->get_name() == "set" || command->get_name() == "delete";
  if (before == "--context" || (of == "context" && named && !absl::StartsWith(start, "-"))) {
    return ContextNames(start);
  }
  // The shell completes files, where nothing else is proposed.
  for (const SettingKind& kind : kSettings) {
    if (before == absl::StrCat("--", kind.name)) return "";
  }
  if (absl::StartsWith(start, "-")) {
    AppendOptions(*command, start, lines);
  } else if (command->get_name() == "call") {
    for (const std::string& name : CallableMethods()) {
      if (absl::StartsWith(name, start)) absl::StrAppend(&lines, name, "\n");
    }
  } else {
    AppendCommands(*command, start, lines);
  }
  return lines;
}

void AddCallCommand(CLI::App& app, Run& run) {
  auto method = std::make_shared<std::string>();
  auto data = std::make_shared<std::string>("{}");
  auto list = std::make_shared<bool>(false);
  CLI::App& command = *AddCommand(
      app, run, "call", "Call any RPC that answers once, in Protobuf's JSON", [=](Run& run) {
        if (!*list && method->empty()) {
          throw CLI::ValidationError("call", "which METHOD? sessionctl call --list names them all");
        }
        if (!*list) return Call(run, *method, *data);
        Print(absl::StrCat(absl::StrJoin(CallableMethods(), "\n"), "\n"));
        return absl::OkStatus();
      });
  auto* name =
      command.add_option("METHOD", *method, "SERVICE/METHOD, or METHOD where that is enough")
          ->option_text("");
  command.add_option("-d,--data", *data, "The request: JSON, @FILE, or - for stdin (default: {})")
      ->option_text("DATA");
  auto* lists = command.add_flag("--list", *list, "List all methods and exit");
  name->excludes(lists);
}

void AddHealthCommand(CLI::App& app, Run& run) {
  auto request = std::make_shared<grpc::health::v1::HealthCheckRequest>();
  CLI::App& command =
      *AddCommand(app, run, "health", "Ask whether the daemon, or one of its services, serves",
                  [request](Run& run) { return Health(run, *request); });
  command.footer(
      absl::StrCat("Exits with 0 for SERVING, 4 for any other answer, and 64 + gRPC code for none: "
                   "78 when nobody is\n"
                   "there, 69 when there is no such service.\n\n",
                   command.get_footer()));
  command
      .add_option_function<std::string>(
          "SERVICE", [request](const std::string& service) { request->set_service(service); },
          "A service's full name, such as sessiond.v1.SessionService (default: the whole daemon)")
      ->option_text("");
}

void AddVersionCommand(CLI::App& app, Run& run) {
  AddCommand(app, run, "version", "Print the version of sessionctl", Version);
}

void AddCompletionCommand(CLI::App& app, Run& run) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command =
      *AddCommand(app, run, "completion", "Print the completion script of a shell", [shell](Run&) {
        Print(*shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish);
        return absl::OkStatus();
      });
  command.add_option("SHELL", *shell, "bash, zsh or fish")
      ->option_text("")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->required();
}

}  // namespace sessiond::ctl
