// `sessionctl task …`: one command for each RPC of TaskService.
#include <memory>

#include "client/sessionctl/error_flags.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

absl::Status Print(const Run& run, const absl::StatusOr<v1::SessionTask>& task) {
  if (!task.ok()) return task.status();
  PrintOne(run.format, *task, TaskCard(*task), task->task_id());
  return absl::OkStatus();
}

template <class Request>
using TaskMethod = absl::StatusOr<v1::SessionTask> (TaskClient::*)(Request) const;

// A report about a run of the task; without --task, the current one is read first.
template <class Request>
absl::Status Report(Run& run, Request& request, TaskMethod<Request> method) {
  if (request.task_id().empty()) {
    v1::GetTaskRequest get;
    get.set_session_id(request.session_id());
    const auto current = Ask(run, get, &TaskClient::GetTask);
    if (!current.ok()) return current.status();
    request.set_task_id(current->task_id());
  }
  return Print(run, Change(run, request, method));
}

// A command that reports about the task: the session, the run, and the fields that every change
// has.
template <class Request>
CLI::App& AddReport(CLI::App& group, Run& run, const Text& name, const Text& description,
                    std::shared_ptr<Request> request, TaskMethod<Request> method) {
  CLI::App& app = *AddCommand(group, run, name, description, [request, method](Run& run) {
    return Report(run, *request, method);
  });
  AddSessionId(app, run, *request);
  AddText(app, "--task", "ID", "The run this is about (default: the current one)",
          [request](const Text& id) { request->set_task_id(id); });
  AddChangeOptions(app, *request);
  return app;
}

template <class Request>
void AddTo(CLI::App& app, const Text& description, Request& request) {
  AddText(app, "--to", "STAGE", description,
          [&request](const Text& stage) { request.set_advance_to_stage(stage); });
}

// The id of a new run.
template <class Request>
void AddNewId(CLI::App& app, Request& request) {
  AddText(app, "--id", "UUID", "An id of your own for this run (default: drawn)",
          [&request](const Text& id) { request.set_task_id(id); });
}

void AddStart(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::StartTaskRequest>();
  CLI::App& app = *AddCommand(
      group, run, "start", "Start a task, and enter the stage it runs in with --to",
      [request](Run& run) { return Print(run, Change(run, *request, &TaskClient::StartTask)); });
  AddSessionId(app, run, *request);
  AddText(app, "TYPE", "", "One of the workflow's task types", [&run, request](const Text& type) {
    run.task_type = type;
    request->set_task_type(type);
  })->required();
  AddNewId(app, *request);
  AddText(app, "--heartbeat", "DURATION",
          "How long its worker may be silent before the daemon fails it (default: for ever)",
          [request](const Text& text) {
            *request->mutable_heartbeat_timeout() = DurationValue("--heartbeat", text);
          });
  AddTo(app, "The session's next stage, entered in the same transaction", *request);
  AddChangeOptions(app, *request);
}

void AddGet(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::GetTaskRequest>();
  CLI::App& app = *AddCommand(
      group, run, "get", "Show a session's current task",
      [request](Run& run) { return Print(run, Ask(run, *request, &TaskClient::GetTask)); });
  app.alias("show");
  AddSessionId(app, run, *request);
  AddIncludeDeleted(app, *request);
}

void AddProgress(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ReportTaskProgressRequest>();
  CLI::App& app =
      AddReport(group, run, "progress", "Say how far it has come, or only that its worker is alive",
                request, &TaskClient::ReportTaskProgress);
  AddObject(app, "--progress", "How far, for example '{\"percent\": 40}' (default: a heartbeat)",
            [request](google::protobuf::Struct progress) {
              *request->mutable_progress() = std::move(progress);
            });
}

void AddComplete(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::CompleteTaskRequest>();
  CLI::App& app =
      AddReport(group, run, "complete", "End it well, and advance the session with --to", request,
                &TaskClient::CompleteTask);
  AddObject(app, "--result", "What it brought", [request](google::protobuf::Struct result) {
    *request->mutable_result() = std::move(result);
  });
  AddTo(app, "The session's next stage, entered in the same transaction", *request);
}

void AddFail(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::FailTaskRequest>();
  CLI::App& app =
      AddReport(group, run, "fail", "End it badly, and record the error if --message is given",
                request, &TaskClient::FailTask);
  AddObject(app, "--context", "Why it failed, for programs",
            [request](google::protobuf::Struct context) {
              *request->mutable_failure_context() = std::move(context);
            });
  AddErrorFields(app, *request, ErrorIs::kOptional);
}

void AddRetry(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::RetryTaskRequest>();
  CLI::App& app = *AddCommand(
      group, run, "retry", "Run the failed task again, under a new id",
      [request](Run& run) { return Print(run, Change(run, *request, &TaskClient::RetryTask)); });
  AddSessionId(app, run, *request);
  AddNewId(app, *request);
  AddChangeOptions(app, *request);
}

absl::Status List(Run& run, const v1::ListTasksRequest& request, int limit) {
  run.filter = request.filter();
  const ListView<v1::SessionTask> view = {
      TaskColumns(), [](const v1::SessionTask& task) { return std::vector<Row>{TaskRow(task)}; },
      [](const v1::SessionTask& task) { return task.session_id(); }, "No tasks."};
  return ShowList(run, request, limit, &TaskClient::ListTasks, view);
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListTasksRequest>();
  auto limit = std::make_shared<int>(50);
  CLI::App& app =
      *AddCommand(group, run, "list", "List current tasks over all sessions, newest first",
                  [request, limit](Run& run) { return List(run, *request, *limit); });
  AddFilter(app, "AIP-160: status = \"RUNNING\" AND task_type = \"export\", or retryable = true",
            *request);
  AddLimit(app, *limit);
  AddNamespace(app, "The namespace; - for all (default: default)", *request);
}

}  // namespace

void AddTaskCommands(CLI::App& app, Run& run) {
  CLI::App& group =
      *app.add_subcommand("task", "Start, follow and end the background task of a session");
  group.require_subcommand(1);
  AddStart(group, run);
  AddGet(group, run);
  AddProgress(group, run);
  AddComplete(group, run);
  AddFail(group, run);
  AddReport(group, run, "cancel", "End it because nobody wants it any more",
            std::make_shared<v1::CancelTaskRequest>(), &TaskClient::CancelTask);
  AddRetry(group, run);
  AddList(group, run);
}

}  // namespace sessiond::ctl
