// Runs a task: starts it, tells the daemon that its worker is alive while the work runs, and
// completes it, or fails it with the error recorded:
//
//   auto result = client.RunTask(
//       {.session_id = id, .task_type = "export", .attempts_max = 3},
//       [](sessiond::TaskRun& run) -> absl::StatusOr<sessiond::Map> {
//         absl::StatusOr<int> tickets = Export(run.stop_token());
//         if (!tickets.ok()) return tickets.status();
//         return sessiond::Map{{"tickets", *tickets}};
//       });
//   if (!result.ok()) return result.status();  // It was not started.
//   if (result->outcome == sessiond::TaskOutcome::kCompleted) …
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sessiond/client.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/task.pb.h"
#include "sessiond/values.h"

namespace sessiond {

struct TaskSpec {
  // Required. The type is one of the workflow's task types.
  std::string session_id = {};
  std::string task_type = {};
  // The session's next stage, to be entered together with the task's start, or its completion;
  // empty to stay.
  std::string start_stage = {};
  std::string end_stage = {};
  // How often the work is run at most: again when it has failed, behind pauses that grow, as long
  // as the task has retries left.
  int attempts_max = 1;
  // How long this worker may be silent before the daemon fails the task; 1 s or more.
  absl::Duration heartbeat_timeout = absl::Seconds(30);
  // How often the daemon hears of the worker, and so how soon a cancellation is noticed. 0: a third
  // of heartbeat_timeout, so that two may be lost.
  absl::Duration heartbeat_interval = absl::ZeroDuration();
  // How long the call may take that ends the task, its retries included. It is made even when a
  // stop was requested.
  absl::Duration finish_timeout = absl::Seconds(30);
  // The end user on whose behalf it runs, and why: for the audit.
  std::string actor = {};
  std::string reason = {};
  // Tells the work to stop. If it then returns an error, the task is failed as TEMPORARY, so that
  // another worker can retry it.
  std::stop_token stop = {};
};

// One run of a task, as its work sees it. Thread-safe. An interface, so that work can be tested
// without a daemon.
class TaskRun {
 public:
  virtual ~TaskRun() = default;

  virtual const std::string& session_id() const = 0;
  virtual const std::string& task_id() const = 0;
  // 1 for the first run by this RunTask.
  virtual int attempt() const = 0;
  // As it was last seen.
  virtual v1::SessionTask task() const = 0;

  // Says how far the work has come; it replaces what was reported before. An error need not end the
  // work: when the task is no longer this worker's, a stop is requested.
  virtual absl::Status ReportProgress(const Map& progress) = 0;

  // A stop is requested when the task was cancelled or is no longer this worker's, or by
  // TaskSpec::stop. What the work returns after a cancellation is not looked at.
  virtual std::stop_token stop_token() const = 0;
  // Waits that long; returns false, and at once, when a stop is requested.
  virtual bool SleepFor(absl::Duration duration) const = 0;

  // What is recorded in the session when this run fails. Fields that are not set get what they get
  // without it: category TEMPORARY if it is going to be retried and ADMIN_REQUIRED if not, severity
  // WARNING, a user_message that names the task, and as error_code the kind of the error.
  virtual void RecordFailureAs(v1::SessionError error) = 0;
  // If this run fails, it is not tried again.
  virtual void DoNotRetry() = 0;
};

// Returns the task's result; or an error, whose message is recorded. An exception (std::exception)
// is a failure too; another one fails the task and goes on.
using TaskWork = std::function<absl::StatusOr<Map>(TaskRun& run)>;

enum class TaskOutcome {
  kCompleted,
  kFailed,     // The work failed, and was not, or no more, retried.
  kCancelled,  // Somebody cancelled the task, or ended its session.
  kLost,       // The daemon failed the task for silence, or another run replaced it.
};

struct TaskResult {
  TaskOutcome outcome = TaskOutcome::kCompleted;
  v1::SessionTask task;  // As it was last seen.
  int attempts = 0;      // How often the work was run.
  // OK when it is completed; the work's own last error when it failed; else the refusal that told
  // that the task is no longer this worker's. What kept the failure from being recorded, or the
  // task from being run again, is told behind the error's message.
  absl::Status status;
};

// Starts the task, or another run of it if it has failed before, and runs its work on this thread.
//
// Errors: the refusal of the start; INVALID_ARGUMENT for a spec that makes no sense; what the
// completion answered, when it was refused otherwise than in TaskOutcome, or did not come through.
// A task whose completion is refused for good is failed. A retry of which nobody has said whether
// it took effect is failed too: its run would have no worker.
//
// What a hook of the client's CallOptions throws is dropped here, and the call goes on without.
absl::StatusOr<TaskResult> RunTask(const TaskClient& client, TaskSpec spec, const TaskWork& work);

}  // namespace sessiond
