// One task, run after run:
//
//   StartTask ─▶ run ─▶ completed, cancelled, lost
//                 ▲ │
//       RetryTask └─┴─▶ failed
//
//   the caller's thread       work ───────────────▶ CompleteTask or FailTask
//   a thread beside it        heartbeat … heartbeat │ ended before that: they never race
#include "sessiond/task_runner.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <typeinfo>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "backoff.h"
#include "sessiond/refusal.h"
#include "steady_time.h"
#include "utf8.h"

namespace sessiond {
namespace {

// Between two runs; longer than between two calls, because work that failed takes what it takes.
constexpr absl::Duration kRetryPause = absl::Milliseconds(100), kRetryPauseMax = absl::Seconds(10);
// What the contract takes, in bytes.
constexpr std::size_t kMessageMax = 4096, kTypeMax = 256;

constexpr absl::string_view kNotRecorded = "that was not recorded";

// How one run's work has failed.
struct Failure {
  absl::Status status;
  std::string type;  // `RESOURCE_EXHAUSTED`, or an exception's class.
};

std::string NameOf(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : type.name();
}

// The text's beginning as a Struct can hold it: UTF-8, without control characters.
std::string Printable(absl::string_view text, std::size_t bytes_max) {
  std::string printable;
  while (!text.empty()) {
    absl::string_view rest = text;
    const char32_t c = TakeCharacter(rest);
    const bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    const absl::string_view next =
        control || c == kNoCharacter ? "\xef\xbf\xbd" : text.substr(0, text.size() - rest.size());
    if (printable.size() + next.size() > bytes_max) break;
    printable.append(next.data(), next.size());
    text = rest;
  }
  return printable;
}

// The status, with what went wrong beside it told behind its message.
absl::Status Beside(const absl::Status& status, absl::string_view what, const absl::Status& wrong) {
  absl::Status told(status.code(), absl::StrCat(status.message(), " (and ", what, ": ",
                                                absl::StatusCodeToString(wrong.code()), ": ",
                                                wrong.message(), ")"));
  status.ForEachPayload([&told](absl::string_view type, const absl::Cord& payload) {
    told.SetPayload(type, payload);
  });
  return told;
}

// What kind of refusal it is, for programs: the daemon's reason, or the code.
std::string KindOf(const absl::Status& status) {
  const auto refusal = GetRefusal(status);
  return refusal.has_value() ? refusal->name : absl::StatusCodeToString(status.code());
}

// The hook, but what it throws is dropped. On the heartbeats' thread it would end the process.
template <class... Arguments>
std::function<void(Arguments...)> Harmless(std::function<void(Arguments...)> hook) {
  if (!hook) return hook;
  return [hook = std::move(hook)](Arguments... arguments) {
    try {
      hook(arguments...);
    } catch (...) {
      // There is no log to tell it to, and it is no reason for the task to fail.
    }
  };
}

TaskClient WithHarmlessHooks(const TaskClient& client) {
  CallOptions options = client.options();
  options.on_retry = Harmless(std::move(options.on_retry));
  options.on_call = Harmless(std::move(options.on_call));
  options.prepare = Harmless(std::move(options.prepare));
  return client.WithOptions(std::move(options));
}

// Whether a refusal means that the task is not this worker's any more, and how that came.
std::optional<TaskOutcome> WhyGone(const absl::Status& status) {
  switch (GetReason(status)) {
    case v1::STALE_TASK:
    case v1::TASK_COMPLETED:
    case v1::TASK_NOT_FOUND:
      return TaskOutcome::kLost;
    case v1::TASK_NOT_RUNNING: {
      const auto refusal = GetRefusal(status);
      const auto task_status = refusal->metadata.find("status");
      return task_status != refusal->metadata.end() && task_status->second == "CANCELLED"
                 ? TaskOutcome::kCancelled
                 : TaskOutcome::kLost;
    }
    case v1::SESSION_NOT_ACTIVE:
    case v1::DELETED:
    case v1::NEVER_EXISTED:
    case v1::ARCHIVED:
      return TaskOutcome::kCancelled;
    default:
      return std::nullopt;
  }
}

class Run final : public TaskRun {
 public:
  Run(const TaskClient& client, const TaskSpec& spec, v1::SessionTask task, int attempt)
      : client_(client),
        spec_(spec),
        task_id_(task.task_id()),
        attempt_(attempt),
        stopped_by_caller_(spec.stop, [this] { stop_.request_stop(); }),
        task_(std::move(task)) {}

  const std::string& session_id() const override { return spec_.session_id; }
  const std::string& task_id() const override { return task_id_; }
  int attempt() const override { return attempt_; }
  v1::SessionTask task() const override {
    const std::lock_guard lock(mutex_);
    return task_;
  }
  std::stop_token stop_token() const override { return stop_.get_token(); }
  bool SleepFor(absl::Duration duration) const override {
    return sessiond::SleepFor(duration, stop_.get_token());
  }
  absl::Status ReportProgress(const Map& progress) override {
    auto fields = ToStruct(progress);
    if (!fields.ok()) return fields.status();
    v1::ReportTaskProgressRequest request;
    *request.mutable_progress() = *std::move(fields);
    return Report(std::move(request), client_.options());
  }
  void RecordFailureAs(v1::SessionError error) override {
    const std::lock_guard lock(mutex_);
    recorded_as_ = std::move(error);
  }
  void DoNotRetry() override {
    const std::lock_guard lock(mutex_);
    permanent_ = true;
  }

  // Runs the work to its end, and the task to that of this run. An error when what ends the task
  // did not come through.
  absl::StatusOr<TaskResult> Go(const TaskWork& work) {
    absl::StatusOr<Map> result = absl::UnknownError("The work threw what is no std::exception");
    std::string type;
    std::jthread heart([this](const std::stop_token& stop) { Beat(stop); });
    const auto stop_heart = [&heart] {
      heart.request_stop();
      heart.join();
    };
    try {
      result = work(*this);
      if (!result.ok()) type = absl::StatusCodeToString(result.status().code());
    } catch (const std::exception& exception) {
      result = absl::UnknownError(exception.what());
      type = NameOf(typeid(exception));
    } catch (...) {
      stop_heart();
      DoNotRetry();
      (void)TellFailure({result.status(), "unknown exception"});
      throw;
    }
    stop_heart();
    if (const auto gone = this->gone()) return Result(gone->outcome, gone->why);
    if (!result.ok()) return Fail({result.status(), std::move(type)});
    return Complete(*result);
  }

  // Fails this run, of which nobody has said whether it began: the daemon would wait for its
  // worker. Returns the task as it is then; nothing if the run has not begun, or could not be
  // failed.
  std::optional<v1::SessionTask> FailUnconfirmed(const absl::Status& why) {
    v1::SessionError error;
    error.set_category(v1::SessionError::TEMPORARY);
    error.set_user_message(absl::StrCat("The task ", spec_.task_type, " was not run again."));
    RecordFailureAs(std::move(error));
    if (!TellFailure({why, KindOf(why)}).ok()) return std::nullopt;
    return task();
  }

  bool permanent() const {
    const std::lock_guard lock(mutex_);
    return permanent_;
  }

 private:
  struct Gone {
    TaskOutcome outcome;
    absl::Status why;
  };

  // Tells the daemon that the worker is alive, until it is told to end.
  void Beat(const std::stop_token& work_ended) {
    // Once the task is gone, nobody needs to hear of it either. A stop by the caller is no such
    // reason: until the work has returned, the task is this worker's.
    std::stop_source end;
    const auto request_stop = [&end] { end.request_stop(); };
    const std::stop_callback by_work(work_ended, request_stop);
    const std::stop_callback by_loss(lost_.get_token(), request_stop);
    CallOptions options = client_.options();
    // One that does not come through in time is given up: the next one is due, and may.
    options.timeout = std::max(spec_.heartbeat_interval, absl::Seconds(1));
    options.stop = end.get_token();
    while (sessiond::SleepFor(spec_.heartbeat_interval, end.get_token())) {
      (void)Report({}, options);  // Its error is on_call's to tell.
    }
  }

  absl::Status Report(v1::ReportTaskProgressRequest request, CallOptions options) {
    Address(request);
    auto task = client_.WithOptions(std::move(options)).ReportTaskProgress(std::move(request));
    return See(task);
  }

  absl::StatusOr<TaskResult> Complete(const Map& result) {
    auto fields = ToStruct(result);
    if (!fields.ok()) {
      DoNotRetry();
      return Fail({fields.status(), "INVALID_ARGUMENT"});
    }
    v1::CompleteTaskRequest request;
    Address(request);
    *request.mutable_result() = *std::move(fields);
    request.set_advance_to_stage(spec_.end_stage);
    const absl::Status status = See(Finisher().CompleteTask(std::move(request)));
    if (status.ok()) return Result(TaskOutcome::kCompleted, status);
    if (const auto gone = this->gone()) return Result(gone->outcome, gone->why);
    if (!PassesByItself(status)) {
      // Otherwise the daemon would wait for this worker until its heartbeat_timeout.
      DoNotRetry();
      const absl::Status refused = TellFailure({status, KindOf(status)});
      if (!refused.ok()) return Beside(status, kNotRecorded, refused);
    }
    return status;
  }

  TaskResult Fail(const Failure& failure) {
    const absl::Status refused = TellFailure(failure);
    if (const auto gone = this->gone()) return Result(gone->outcome, gone->why);
    return Result(TaskOutcome::kFailed,
                  refused.ok() ? failure.status : Beside(failure.status, kNotRecorded, refused));
  }

  absl::Status TellFailure(const Failure& failure) {
    return See(Finisher().FailTask(FailureOf(failure)));
  }

  v1::FailTaskRequest FailureOf(const Failure& failure) const {
    v1::FailTaskRequest request;
    Address(request);
    const std::string type = Printable(failure.type, kTypeMax);
    auto& context = *request.mutable_failure_context()->mutable_fields();
    context["message"].set_string_value(Printable(failure.status.message(), kMessageMax));
    context["type"].set_string_value(type);

    const std::lock_guard lock(mutex_);
    const bool stopped = spec_.stop.stop_requested();
    const bool retry = !permanent_ && !stopped && attempt_ < spec_.attempts_max &&
                       task_.retry_count() + 1 < task_.max_retries();
    v1::SessionError& error = *request.mutable_error();
    error = recorded_as_;
    if (error.category() == v1::SessionError::CATEGORY_UNSPECIFIED) {
      error.set_category(retry || stopped ? v1::SessionError::TEMPORARY
                                          : v1::SessionError::ADMIN_REQUIRED);
    }
    if (error.severity() == v1::SessionError::SEVERITY_UNSPECIFIED) {
      error.set_severity(v1::SessionError::WARNING);
    }
    if (error.user_message().empty()) {
      error.set_user_message(absl::StrCat("The task ", spec_.task_type,
                                          stopped ? " was interrupted: its worker was stopped."
                                          : retry ? " failed and is run again."
                                                  : " failed."));
    }
    if (error.error_code().empty()) error.set_error_code(type);
    return request;
  }

  template <class Request>
  void Address(Request& request) const {
    request.set_session_id(spec_.session_id);
    request.set_task_id(task_id_);
    request.set_actor(spec_.actor);
    request.set_reason(spec_.reason);
  }

  // For the calls that end the task, whatever was stopped.
  TaskClient Finisher() const {
    CallOptions options = client_.options();
    options.timeout = spec_.finish_timeout;
    options.stop = {};
    return client_.WithOptions(std::move(options));
  }

  // Notes the task as it is now; or that it is gone, and then stops the work.
  absl::Status See(const absl::StatusOr<v1::SessionTask>& task) {
    if (task.ok()) {
      const std::lock_guard lock(mutex_);
      task_ = *task;
      return absl::OkStatus();
    }
    auto outcome = WhyGone(task.status());
    if (!outcome.has_value()) return task.status();
    // How it ended it says best itself. Where it cannot be asked, the refusal has to do.
    v1::GetTaskRequest request;
    request.set_session_id(spec_.session_id);
    request.set_include_deleted(true);
    const auto now = Finisher().GetTask(std::move(request));
    {
      const std::lock_guard lock(mutex_);
      if (now.ok() && now->task_id() == task_id_) {
        task_ = *now;
        if (now->status() == v1::SessionTask::FAILED) outcome = TaskOutcome::kLost;
      }
      if (!gone_.has_value()) gone_ = Gone{*outcome, task.status()};
    }
    lost_.request_stop();
    stop_.request_stop();
    return task.status();
  }

  std::optional<Gone> gone() const {
    const std::lock_guard lock(mutex_);
    return gone_;
  }

  TaskResult Result(TaskOutcome outcome, absl::Status status) const {
    return {outcome, task(), attempt_, std::move(status)};
  }

  const TaskClient& client_;
  const TaskSpec& spec_;
  const std::string task_id_;
  const int attempt_;
  std::stop_source stop_;
  std::stop_source lost_;  // The task is gone.
  const std::stop_callback<std::function<void()>> stopped_by_caller_;

  mutable std::mutex mutex_;
  v1::SessionTask task_ ABSL_GUARDED_BY(mutex_);
  std::optional<Gone> gone_ ABSL_GUARDED_BY(mutex_);
  v1::SessionError recorded_as_ ABSL_GUARDED_BY(mutex_);
  bool permanent_ ABSL_GUARDED_BY(mutex_) = false;
};

// `task_id` is ours, so that a run of which nothing is known can be failed.
absl::StatusOr<v1::SessionTask> Retry(const TaskClient& client, const TaskSpec& spec,
                                      std::string task_id = NewRequestId()) {
  v1::RetryTaskRequest request;
  request.set_session_id(spec.session_id);
  request.set_task_id(std::move(task_id));
  request.set_actor(spec.actor);
  request.set_reason(spec.reason);
  return client.RetryTask(std::move(request));
}

absl::StatusOr<v1::SessionTask> Start(const TaskClient& client, const TaskSpec& spec) {
  v1::StartTaskRequest request;
  request.set_session_id(spec.session_id);
  request.set_task_type(spec.task_type);
  // Ours, so that what is reported is about this run, whatever happens.
  request.set_task_id(NewRequestId());
  const timespec timeout = absl::ToTimespec(spec.heartbeat_timeout);
  request.mutable_heartbeat_timeout()->set_seconds(timeout.tv_sec);
  request.mutable_heartbeat_timeout()->set_nanos(static_cast<int32_t>(timeout.tv_nsec));
  request.set_advance_to_stage(spec.start_stage);
  request.set_actor(spec.actor);
  request.set_reason(spec.reason);
  auto task = client.StartTask(std::move(request));
  return GetReason(task.status()) == v1::TASK_FAILED ? Retry(client, spec) : task;
}

// What a task has come to that was not run again, for this reason.
TaskResult NotRunAgain(const TaskClient& client, const TaskSpec& spec, TaskResult result,
                       std::string task_id, const absl::Status& why) {
  result.status = Beside(result.status, "it was not run again", why);
  if (!PassesByItself(why)) return result;
  v1::SessionTask task = result.task;
  task.set_task_id(std::move(task_id));
  Run run(client, spec, std::move(task), result.attempts);
  if (auto failed = run.FailUnconfirmed(why)) result.task = *std::move(failed);
  return result;
}

absl::Status Check(const TaskSpec& spec) {
  if (spec.attempts_max < 1) {
    return absl::InvalidArgumentError(absl::StrCat("TaskSpec::attempts_max is ", spec.attempts_max,
                                                   ": it is 1 or more, the first included"));
  }
  for (const auto& [name, duration] : {std::pair("heartbeat_timeout", spec.heartbeat_timeout),
                                       std::pair("heartbeat_interval", spec.heartbeat_interval),
                                       std::pair("finish_timeout", spec.finish_timeout)}) {
    if (duration <= absl::ZeroDuration()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "TaskSpec::", name, " is ", absl::FormatDuration(duration), ": it is more than 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TaskResult> RunTask(const TaskClient& given, TaskSpec spec, const TaskWork& work) {
  if (spec.heartbeat_interval == absl::ZeroDuration()) {
    spec.heartbeat_interval = spec.heartbeat_timeout / 3;
  }
  if (absl::Status status = Check(spec); !status.ok()) return status;
  const TaskClient client = WithHarmlessHooks(given);
  absl::StatusOr<v1::SessionTask> task = Start(client, spec);
  if (!task.ok()) return task.status();
  Backoff backoff(kRetryPause, kRetryPauseMax);
  for (int attempt = 1;; ++attempt) {
    Run run(client, spec, *std::move(task), attempt);
    auto result = run.Go(work);
    if (!result.ok() || result->outcome != TaskOutcome::kFailed || attempt >= spec.attempts_max ||
        run.permanent() || !result->task.retryable() ||
        !SleepFor(backoff.Next(absl::OkStatus()), spec.stop)) {
      return result;
    }
    const std::string task_id = NewRequestId();
    task = Retry(client, spec, task_id);
    if (!task.ok()) return NotRunAgain(client, spec, *std::move(result), task_id, task.status());
  }
}

}  // namespace sessiond
