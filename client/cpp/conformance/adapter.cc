#include "conformance/adapter.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "google/protobuf/util/json_util.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::conformance {

void Read(Json args, google::protobuf::Message& message) {
  std::vector<std::string> paths;
  if (const auto mask = args.find("update_mask"); mask != args.end()) {
    paths = mask->get<std::vector<std::string>>();
    args.erase(mask);
  }
  const auto status = google::protobuf::util::JsonStringToMessage(args.dump(), &message);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  if (auto* update = dynamic_cast<v1::UpdateSessionRequest*>(&message)) {
    for (std::string& path : paths) update->mutable_update_mask()->add_paths(std::move(path));
  }
}

Json Plain(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return Json::parse(text);
}

namespace {

// What a program in C++ tells errors apart by.
constexpr struct {
  bool (*is)(const absl::Status&);
  const char* name;
} kClasses[] = {
    {absl::IsInvalidArgument, "InvalidArgument"},
    {absl::IsNotFound, "NotFound"},
    {absl::IsAlreadyExists, "AlreadyExists"},
    {absl::IsFailedPrecondition, "FailedPrecondition"},
    {absl::IsAborted, "Aborted"},
    {absl::IsOutOfRange, "OutOfRange"},
    {absl::IsResourceExhausted, "ResourceExhausted"},
    {absl::IsUnavailable, "Unavailable"},
    {absl::IsUnauthenticated, "Unauthenticated"},
    {absl::IsPermissionDenied, "PermissionDenied"},
    {absl::IsInternal, "Internal"},
    {absl::IsDeadlineExceeded, "DeadlineExceeded"},
    {absl::IsCancelled, "Cancelled"},
    {absl::IsUnimplemented, "Unimplemented"},
    {absl::IsUnknown, "Unknown"},
};

Json Describe(const v1::WatchSessionsResponse& response) {
  if (response.has_session()) return {{"kind", "session"}, {"session", Plain(response.session())}};
  if (!response.has_change()) return {{"kind", "bookmark"}};
  const auto& change = response.change();
  Json item = {{"kind", "change"},
               {"event", Plain(change.event())},
               {"messages", PlainAll(change.messages())},
               {"matches", response.matches()}};
  if (change.has_session()) item["session"] = Plain(change.session());
  return item;
}

Map MapOf(const Json& object);

Value ValueOf(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_object()) return MapOf(json);
  if (!json.is_array()) return nullptr;
  List list;
  for (const Json& item : json) list.push_back(ValueOf(item));
  return list;
}

Map MapOf(const Json& object) {
  Map map;
  for (const auto& [key, value] : object.items()) map.emplace(key, ValueOf(value));
  return map;
}

absl::StatusOr<Map> Work(TaskRun& run, const Json& script) {
  for (const Json& progress : script.value("progress", Json::array())) {
    if (absl::Status status = run.ReportProgress(MapOf(progress)); !status.ok()) return status;
  }
  if (script.contains("sleep_s") && !run.SleepFor(Seconds(script["sleep_s"]))) {
    return absl::CancelledError("interrupted");
  }
  if (script.contains("until_cancelled_s")) {
    return run.SleepFor(Seconds(script["until_cancelled_s"])) ? absl::UnknownError("not cancelled")
                                                              : absl::CancelledError("told");
  }
  if (script.contains("fail")) throw std::runtime_error(script["fail"].get<std::string>());
  return MapOf(script.value("succeed", Json::object()));
}

}  // namespace

Json Describe(const absl::Status& status) {
  Json error = {{"code", absl::StatusCodeToString(status.code())},
                {"class", "none"},
                {"reason", ""},
                {"category", ""},
                {"message", std::string(status.message())},
                {"metadata", Json::object()},
                {"fields", Json::array()},
                {"retry_after_s", nullptr},
                {"from_daemon", false}};
  for (const auto& each : kClasses) {
    if (each.is(status)) error["class"] = each.name;
  }
  if (const auto delay = GetRetryAfter(status))
    error["retry_after_s"] = absl::ToDoubleSeconds(*delay);
  const auto refusal = GetRefusal(status);
  if (!refusal.has_value()) return error;
  if (absl::IsNotFound(status) && !GetNotFound(status).has_value()) error["class"] = "none";
  error["reason"] = refusal->name;
  if (refusal->category != v1::SessionError::CATEGORY_UNSPECIFIED) {
    error["category"] = v1::SessionError::Category_Name(refusal->category);
  }
  error["metadata"] = refusal->metadata;
  for (const auto& field : refusal->fields) error["fields"].push_back(field.path);
  error["from_daemon"] = true;
  return error;
}

Answer RunScript(const Client& client, const Json& args, const Json&) {
  TaskSpec spec;
  spec.session_id = args.at("session_id");
  spec.task_type = args.at("task_type");
  spec.start_stage = args.value("start_stage", "");
  spec.end_stage = args.value("end_stage", "");
  spec.attempts_max = args.value("attempts_max", 1);
  if (args.contains("heartbeat_timeout_s")) {
    spec.heartbeat_timeout = Seconds(args["heartbeat_timeout_s"]);
  }
  spec.heartbeat_interval = Seconds(args.value("heartbeat_interval_s", 0.0));
  const Json& scripts = args.at("work");
  auto result = client.RunTask(std::move(spec), [&scripts](TaskRun& run) {
    return Work(run, scripts[std::min<std::size_t>(run.attempt(), scripts.size()) - 1]);
  });
  if (!result.ok()) return result.status();
  constexpr const char* kOutcomes[] = {"completed", "failed", "cancelled", "lost"};
  return Json{{"outcome", kOutcomes[static_cast<int>(result->outcome)]},
              {"task", Plain(result->task)},
              {"attempts", result->attempts},
              {"message", std::string(result->status.message())}};
}

NamedWatch::NamedWatch(const Client& client, const Json& request, absl::Duration silence_max) {
  auto message = Read<v1::WatchSessionsRequest>(request);
  token_ = message.resume_token();
  WatchOptions options;
  options.silence_max = silence_max;
  options.on_resume = [this](bool anew) {
    if (anew) Hand({Json{{"kind", "restart"}}, ""});
  };
  watcher_ = client.Watch(std::move(message), std::move(options));
  reader_ = std::thread([this] { Go(); });
}

void NamedWatch::Go() {
  for (const auto& response : watcher_->Responses()) {
    const bool more = response.ok() ? Hand({Describe(*response), response->resume_token()})
                                    : Hand({response.status(), ""});
    if (!more) break;
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

bool NamedWatch::Hand(Item item) {
  std::unique_lock lock(mutex_);
  item_ = std::move(item);
  changed_.notify_all();
  changed_.wait(lock, [this] { return !item_.has_value() || closed_; });
  return !closed_;
}

Answer NamedWatch::Next(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  const auto has_news = [this] { return item_.has_value() || ended_; };
  if (!changed_.wait_for(lock, absl::ToChronoMilliseconds(timeout), has_news)) {
    return Json{{"kind", "timeout"}};
  }
  if (!item_.has_value() || closed_) return Json{{"kind", "end"}};
  Item item = *std::exchange(item_, std::nullopt);
  if (!item.token.empty()) token_ = std::move(item.token);
  changed_.notify_all();
  return item.answer;
}

std::string NamedWatch::token() {
  const std::lock_guard lock(mutex_);
  return token_;
}

void NamedWatch::Close() {
  watcher_->Stop();
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  if (reader_.joinable()) reader_.join();
}

}  // namespace sessiond::conformance
