// The task: one background job of a session, from its start to its end. Task and session change in
// one decision, or not at all.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/event_facts.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionTask;

std::string StatusName(SessionTask::Status status) { return SessionTask::Status_Name(status); }

// -------------------------------------------------------------------------------------------------
// refusals

absl::Status StaleTask(const std::string& named, const SessionTask& current,
                       absl::string_view why) {
  return Refusal(v1::STALE_TASK, absl::StrCat("Task ", named, " ", why))
      .With("task_id", named)
      .With("current_task_id", current.task_id())
      .Precondition("TASK", named, absl::StrCat("the current one is ", current.task_id()));
}

absl::Status TaskCompleted(const SessionTask& task) {
  return Refusal(v1::TASK_COMPLETED, absl::StrCat("Cannot modify completed task ", task.task_id(),
                                                  "; start another (StartTask)."))
      .With("task_id", task.task_id())
      .With("complete_time", ToRfc3339(FromProto(task.complete_time())))
      .Precondition("TASK", task.task_id(), "is completed");
}

absl::Status TaskNotRunning(const SessionTask& task, absl::string_view way_out) {
  const std::string status = StatusName(task.status());
  return Refusal(v1::TASK_NOT_RUNNING, absl::StrCat("Task ", task.task_id(),
                                                    " does not run; it is ", status, ". ", way_out))
      .With("task_id", task.task_id())
      .With("task_type", task.task_type())
      .With("status", status)
      .Precondition("TASK", task.task_id(), absl::StrCat("is ", status));
}

Refusal WithRetries(Refusal refusal, const SessionTask& task) {
  refusal.With("task_id", task.task_id())
      .With("retry_count", absl::StrCat(task.retry_count()))
      .With("max_retries", absl::StrCat(task.max_retries()));
  return refusal;
}

absl::Status TaskFailed(const SessionTask& task) {
  Refusal refusal(v1::TASK_FAILED, absl::StrCat("The ", task.task_type(),
                                                " task has failed; RetryTask continues it."));
  return WithRetries(std::move(refusal), task)
      .With("task_type", task.task_type())
      .Precondition("TASK", task.task_id(), "call RetryTask");
}

absl::Status RetryLimitExceeded(const SessionTask& task) {
  Refusal refusal(v1::RETRY_LIMIT_EXCEEDED,
                  absl::StrCat("Maximum retry attempts exceeded: the ", task.task_type(),
                               " task has failed ", task.retry_count(), " times of ",
                               task.max_retries(), ". RecoverSession gives the retries back."));
  return WithRetries(std::move(refusal), task)
      .Precondition("RETRIES", task.task_id(), "call RecoverSession");
}

// -------------------------------------------------------------------------------------------------
// checks

// What every report about a task begins with: the check that it is about the current task.
template <class Report>
absl::Status CheckReport(const Context& context, Call call, const Report& report) {
  if (auto exists = context.CheckExists(call); !exists.ok()) return exists;
  const Session& session = context.session();
  if (!session.has_current_task()) return TaskNotFound(session.session_id());
  const SessionTask& task = session.current_task();
  if (task.task_id() != report.task_id()) {
    return StaleTask(report.task_id(), task,
                     absl::StrCat("is not the current one, which is ", task.task_id(),
                                  ": it was replaced, or never existed."));
  }
  if (auto current = context.CheckEtag(report.etag()); !current.ok()) return current;
  if (auto state = context.CheckState(call); !state.ok()) return state;
  switch (task.status()) {
    case SessionTask::RUNNING:
      return absl::OkStatus();
    case SessionTask::COMPLETED:
      return TaskCompleted(task);
    case SessionTask::FAILED:
      return TaskNotRunning(task, "RetryTask runs it again.");
    default:
      return TaskNotRunning(task, "StartTask starts another.");
  }
}

// Whether a task of this type may run in `stage`. `next`: the stage that the call could enter, if
// any.
absl::Status CheckTaskStage(const Workflow& workflow, const std::string& type,
                            const std::string& stage, const v1::Stage* next) {
  const v1::TaskType* found = workflow.FindTaskType(type);
  if (found == nullptr) {
    std::vector<std::string> known;
    for (const auto& task_type : workflow.definition().task_types())
      known.push_back(task_type.name());
    return InvalidFields(
        {{"task_type", absl::StrCat("is not a task type of workflow ", workflow.name(), "; it has ",
                                    known.empty() ? "none" : absl::StrJoin(known, ", "))}});
  }
  for (const std::string& allowed : found->stages()) {
    if (allowed == stage) return absl::OkStatus();
  }
  const std::string where =
      absl::StrCat(": a task of this type runs in stage ", absl::StrJoin(found->stages(), " or "));
  for (const std::string& allowed : found->stages()) {
    if (next == nullptr || next->name() != allowed) continue;
    const std::string way_out =
        absl::StrCat("set advance_to_stage to ", allowed, ", to enter it with the task");
    return Refusal(v1::INVALID_TRANSITION, absl::StrCat("Cannot transition from ", stage, " to ",
                                                        type, where, "; ", way_out, "."))
        .With("from", stage)
        .With("to", type)
        .With("allowed", absl::StrJoin(workflow.TaskTypesIn(stage), ","))
        .With("advance_to_stage", allowed)
        .Precondition("TRANSITION", absl::StrCat(stage, " → ", type), way_out);
  }
  return InvalidTransition(stage.empty() ? "no stage" : stage, type, workflow.TaskTypesIn(stage),
                           where);
}

absl::Status CheckNewTaskId(const Context& context, const std::string& task_id) {
  const bool used = context.aggregate.used_ids.contains(task_id) ||
                    context.session().current_task().task_id() == task_id;
  if (task_id.empty() || !used) return absl::OkStatus();
  return InvalidFields(
      {{"task_id", "was used by an earlier run of this session; bring a new one"}});
}

// -------------------------------------------------------------------------------------------------
// facts

// The task starts a run.
void RecordRun(EventRecorder& recorder, SessionEvent::Type type, SessionTask run) {
  run.set_status(SessionTask::RUNNING);
  if (run.task_id().empty()) run.set_task_id(recorder.DrawId());
  *run.mutable_start_time() = ToProto(recorder.now());
  *run.mutable_heartbeat_time() = run.start_time();
  recorder.Record(type, Changes().Set("current_task", FactsOf(run)));
}

// The task has no retries left: the session fails with it, and an error says so.
void RecordLastFailure(EventRecorder& recorder, bool error_given) {
  const SessionTask& task = recorder.session().current_task();
  const std::string what =
      absl::StrCat("The ", task.task_type(), " task has failed ", task.retry_count(), " times");
  if (!error_given) {
    SessionError error;
    error.set_category(SessionError::ADMIN_REQUIRED);
    error.set_severity(SessionError::BLOCKING);
    error.set_user_message(absl::StrCat(what, "; an administrator has to recover the session."));
    error.add_recovery_actions("Find out why it fails, then call RecoverSession.");
    error.set_error_code("RETRY_LIMIT_EXCEEDED");
    *error.mutable_technical_details() = task.failure_context();
    RecordError(recorder, error);
  }
  RecordFail(recorder, absl::StrCat(what, "."));
}

}  // namespace

absl::StatusOr<Decision> Decide(const Context& context, const v1::StartTaskRequest& request) {
  if (auto begin = context.Begin(Call::kStartTask, request.etag()); !begin.ok()) return begin;
  const Session& session = context.session();
  const SessionTask& before = session.current_task();
  if (before.status() == SessionTask::RUNNING)
    return TaskAlreadyRunning(before, "Wait for its end, or cancel it (CancelTask).");
  if (before.status() == SessionTask::FAILED && before.task_type() == request.task_type())
    return TaskFailed(before);
  const std::string& to = request.advance_to_stage();
  if (auto fits =
          CheckTaskStage(context.workflow, request.task_type(), to.empty() ? session.stage() : to,
                         context.workflow.NextStage(session.stage()));
      !fits.ok()) {
    return fits;
  }
  if (auto fresh = CheckNewTaskId(context, request.task_id()); !fresh.ok()) return fresh;
  if (!to.empty()) {
    if (auto can = context.CheckAdvance(to); !can.ok()) return can;
  }

  EventRecorder recorder = context.Open();
  if (!to.empty()) RecordAdvance(recorder, context.workflow, to);
  SessionTask task;
  task.set_session_id(session.session_id());
  task.set_task_type(request.task_type());
  task.set_task_id(request.task_id());
  task.set_max_retries(context.workflow.max_retries());
  if (request.has_heartbeat_timeout()) {
    // As it is stored.
    *task.mutable_heartbeat_timeout() =
        ToProto(absl::Trunc(FromProto(request.heartbeat_timeout()), absl::Milliseconds(1)));
  }
  RecordRun(recorder, SessionEvent::TASK_STARTED, std::move(task));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context,
                                const v1::ReportTaskProgressRequest& request) {
  if (auto fits = CheckReport(context, Call::kReportTaskProgress, request); !fits.ok()) return fits;
  EventRecorder recorder = context.Open();
  if (!request.has_progress()) {  // A bare heartbeat is not a fact about the session.
    recorder.RecordHeartbeat();
    return std::move(recorder).Close();
  }
  recorder.Record(SessionEvent::TASK_PROGRESSED,
                  Changes()
                      .Set("current_task.progress", StructFact(request.progress()))
                      .Set("current_task.heartbeat_time", TimeFact(recorder.now())));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::CompleteTaskRequest& request) {
  if (auto fits = CheckReport(context, Call::kCompleteTask, request); !fits.ok()) return fits;
  const std::string& to = request.advance_to_stage();
  if (!to.empty()) {
    if (auto can = context.CheckAdvance(to); !can.ok()) return can;
  }
  EventRecorder recorder = context.Open();
  const SessionTask& running = context.session().current_task();
  recorder.Record(
      SessionEvent::TASK_COMPLETED,
      Changes()
          .Set("current_task.status", StatusFact(SessionTask::COMPLETED))
          .Set("current_task.complete_time", TimeFact(recorder.now()))
          .Set("current_task.result",
               request.has_result() ? StructFact(request.result()) : FactOf(running, "result")));
  if (!to.empty()) RecordAdvance(recorder, context.workflow, to);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::FailTaskRequest& request) {
  if (auto fits = CheckReport(context, Call::kFailTask, request); !fits.ok()) return fits;
  const SessionTask& running = context.session().current_task();
  const absl::Time silent_since = FromProto(running.heartbeat_time());
  if (context.command.by_timeout &&
      context.now < silent_since + FromProto(running.heartbeat_timeout())) {
    return StaleTask(request.task_id(), running, "was heard of meanwhile.");
  }
  if (request.has_error()) {
    if (auto fits = CheckError(context, request.error(), "error"); !fits.ok()) return fits;
  }
  EventRecorder recorder = context.Open();
  recorder.Record(SessionEvent::TASK_FAILED,
                  Changes()
                      .Set("current_task.status", StatusFact(SessionTask::FAILED))
                      .Set("current_task.fail_time", TimeFact(recorder.now()))
                      .Set("current_task.retry_count", NumberValue(running.retry_count() + 1))
                      .Set("current_task.failure_context",
                           request.has_failure_context() ? StructFact(request.failure_context())
                                                         : FactOf(running, "failure_context")));
  if (request.has_error()) RecordError(recorder, request.error());
  const SessionTask& failed = recorder.session().current_task();
  // The error that the daemon reports for a silent worker does not replace the administrator's.
  const bool error_given = request.has_error() && !context.command.by_timeout;
  if (failed.retry_count() >= failed.max_retries()) RecordLastFailure(recorder, error_given);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::CancelTaskRequest& request) {
  if (auto fits = CheckReport(context, Call::kCancelTask, request); !fits.ok()) return fits;
  EventRecorder recorder = context.Open();
  RecordCancel(recorder);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::RetryTaskRequest& request) {
  if (auto exists = context.CheckExists(Call::kRetryTask); !exists.ok()) return exists;
  if (auto current = context.CheckEtag(request.etag()); !current.ok()) return current;
  // The task is checked before the state: a session that failed with its task must be recovered,
  // and the refusal says so.
  const Session& session = context.session();
  if (!session.has_current_task()) return TaskNotFound(session.session_id());
  const SessionTask& failed = session.current_task();
  if (failed.status() == SessionTask::RUNNING)
    return TaskAlreadyRunning(failed, "Only a FAILED one can be retried.");
  if (failed.status() == SessionTask::COMPLETED) return TaskCompleted(failed);
  if (failed.status() == SessionTask::CANCELLED)
    return TaskNotRunning(failed, "StartTask starts another.");
  if (failed.retry_count() >= failed.max_retries()) return RetryLimitExceeded(failed);
  if (auto state = context.CheckState(Call::kRetryTask); !state.ok()) return state;
  if (auto fits = CheckTaskStage(context.workflow, failed.task_type(), session.stage(), nullptr);
      !fits.ok()) {
    return fits;
  }
  if (auto fresh = CheckNewTaskId(context, request.task_id()); !fresh.ok()) return fresh;

  EventRecorder recorder = context.Open();
  SessionTask run;
  run.set_session_id(session.session_id());
  run.set_task_type(failed.task_type());
  run.set_task_id(request.task_id());
  run.set_retry_count(failed.retry_count());
  run.set_max_retries(failed.max_retries());
  if (failed.has_heartbeat_timeout()) *run.mutable_heartbeat_timeout() = failed.heartbeat_timeout();
  RecordRun(recorder, SessionEvent::TASK_RETRIED, std::move(run));
  return std::move(recorder).Close();
}

}  // namespace sessiond
