// Commands for tests, spelled briefly, and the built-in workflows they are about.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "state_machine/decide.h"
#include "tests/test_seed.h"
#include "tests/workflows.h"

namespace sessiond {

// A built-in definition, or one of tests/workflows, without a revision.
inline v1::Workflow BuiltinDefinition(const std::string& name) {
  for (const std::string& text : AllWorkflowTexts()) {
    const auto workflow = Workflow::Parse(text);
    if (workflow.ok() && (*workflow)->name() == name) return (*workflow)->definition();
  }
  ADD_FAILURE() << "no workflow " << name;
  std::abort();
}

inline std::shared_ptr<const Workflow> BuiltinWorkflow(const std::string& name,
                                                       int32_t revision = 1) {
  v1::Workflow definition = BuiltinDefinition(name);
  definition.set_revision(revision);
  return *Workflow::Make(std::move(definition));
}

// Ticket exports whose retention is over as soon as they are.
inline v1::Workflow ShortLivedDefinition() {
  v1::Workflow definition = BuiltinDefinition("ticket_export");
  definition.set_name("short_lived");
  for (auto* kept : {definition.mutable_retention()->mutable_after_end(),
                     definition.mutable_retention()->mutable_after_delete()}) {
    kept->set_seconds(0);
    kept->set_nanos(1000);
  }
  return definition;
}

// A request about an existing session, as a command.
template <class Request>
Command About(const std::string& session_id, Request request = {}) {
  if constexpr (std::is_same_v<Request, v1::UpdateSessionRequest>) {
    request.mutable_session()->set_session_id(session_id);
  } else {
    request.set_session_id(session_id);
  }
  Command command{.caller = "tester", .request_id = request.request_id(), .session_id = session_id};
  command.request = std::move(request);
  return command;
}

inline Command Advance(const std::string& session_id, const std::string& target_stage) {
  v1::AdvanceSessionRequest request;
  request.set_target_stage(target_stage);
  return About(session_id, request);
}

inline Command Delete(const std::string& session_id, bool force) {
  v1::DeleteSessionRequest request;
  request.set_force(force);
  return About(session_id, request);
}

inline Command SetLabel(const std::string& session_id, const std::string& key,
                        const std::string& value) {
  v1::UpdateSessionRequest request;
  (*request.mutable_session()->mutable_labels())[key] = value;
  request.mutable_update_mask()->add_paths("labels." + key);
  return About(session_id, request);
}

inline Command Increment(const std::string& session_id, const std::string& counter, int32_t by) {
  v1::UpdateSessionRequest request;
  (*request.mutable_counter_increments())[counter] = by;
  return About(session_id, request);
}

// A session with all that any workflow requires at its beginning.
inline v1::CreateSessionRequest NewSession(const std::string& workflow) {
  v1::CreateSessionRequest request;
  request.mutable_session()->set_workflow(workflow);
  request.mutable_session()->set_owner_id("owner-1");
  request.mutable_session()->set_owner_display_name("Owner One");
  return request;
}

inline Command Create(std::shared_ptr<const Workflow> workflow, v1::CreateSessionRequest request) {
  Command command{.caller = "tester",
                  .request_id = request.request_id(),
                  .session_id = request.session_id(),
                  .workflow = std::move(workflow)};
  command.request = std::move(request);
  return command;
}

// -------------------------------------------------------------------------------------------------
// below a session

inline Command StartTask(const std::string& session_id, const std::string& type,
                         const std::string& task_id = "", const std::string& to = "") {
  v1::StartTaskRequest request;
  request.set_task_type(type);
  request.set_task_id(task_id);
  request.set_advance_to_stage(to);
  return About(session_id, request);
}

inline Command Progress(const std::string& session_id, const std::string& task_id, double done) {
  v1::ReportTaskProgressRequest request;
  request.set_task_id(task_id);
  (*request.mutable_progress()->mutable_fields())["done"].set_number_value(done);
  return About(session_id, request);
}

inline Command Heartbeat(const std::string& session_id, const std::string& task_id) {
  v1::ReportTaskProgressRequest request;
  request.set_task_id(task_id);
  return About(session_id, request);
}

inline Command CompleteTask(const std::string& session_id, const std::string& task_id,
                            const std::string& to = "") {
  v1::CompleteTaskRequest request;
  request.set_task_id(task_id);
  (*request.mutable_result()->mutable_fields())["tickets"].set_number_value(5);
  request.set_advance_to_stage(to);
  return About(session_id, request);
}

inline Command FailTask(const std::string& session_id, const std::string& task_id,
                        const v1::SessionError* error = nullptr) {
  v1::FailTaskRequest request;
  request.set_task_id(task_id);
  (*request.mutable_failure_context()->mutable_fields())["why"].set_string_value("no luck");
  if (error != nullptr) *request.mutable_error() = *error;
  return About(session_id, request);
}

inline Command CancelTask(const std::string& session_id, const std::string& task_id) {
  v1::CancelTaskRequest request;
  request.set_task_id(task_id);
  return About(session_id, request);
}

inline Command RetryTask(const std::string& session_id, const std::string& task_id = "") {
  v1::RetryTaskRequest request;
  request.set_task_id(task_id);
  return About(session_id, request);
}

inline v1::SessionError AnError(v1::SessionError::Severity severity, const std::string& file = "",
                                const std::string& ticket = "") {
  v1::SessionError error;
  error.set_category(v1::SessionError::USER_FIXABLE);
  error.set_severity(severity);
  error.set_user_message("The file cannot be read.");
  error.add_recovery_actions("Upload it again.");
  error.set_related_file_id(file);
  error.set_related_ticket_id(ticket);
  return error;
}

inline Command RecordError(const std::string& session_id, const v1::SessionError& error) {
  v1::RecordErrorRequest request;
  *request.mutable_error() = error;
  return About(session_id, request);
}

inline Command ResolveError(const std::string& session_id, const std::string& error_id) {
  v1::ResolveErrorRequest request;
  request.set_error_id(error_id);
  request.set_resolution("uploaded again");
  return About(session_id, request);
}

// `count` messages of one type, and the last one's id.
inline Command Append(const std::string& session_id, const std::string& type, int count = 1,
                      const std::string& message_id = "") {
  v1::AppendMessagesRequest request;
  for (int i = 0; i < count; ++i) {
    v1::SessionMessage& message = *request.add_messages();
    message.set_type(type);
    message.set_content("What is a mutex?");
  }
  request.mutable_messages(count - 1)->set_message_id(message_id);
  return About(session_id, request);
}

inline v1::SessionArtifact AnArtifact(const std::string& id,
                                      v1::SessionArtifact::Kind kind = v1::SessionArtifact::FILE) {
  v1::SessionArtifact artifact;
  artifact.set_artifact_id(id);
  artifact.set_kind(kind);
  artifact.set_display_name("plan.pdf");
  artifact.set_uri("s3://bucket/plan.pdf");
  return artifact;
}

inline Command AddArtifacts(const std::string& session_id,
                            const std::vector<v1::SessionArtifact>& artifacts) {
  v1::AddArtifactsRequest request;
  for (const v1::SessionArtifact& artifact : artifacts) *request.add_artifacts() = artifact;
  return About(session_id, request);
}

inline Command DeleteArtifact(const std::string& session_id, const std::string& artifact_id) {
  v1::DeleteArtifactRequest request;
  request.set_artifact_id(artifact_id);
  return About(session_id, request);
}

// One session's share of what is done to many.
template <class Request>
Command Share(const std::string& session_id, Request request = {}) {
  Command command{.caller = "tester", .request_id = request.request_id(), .session_id = session_id};
  command.request = std::move(request);
  return command;
}

inline Command Erase(const std::string& session_id, const std::string& owner_id) {
  v1::EraseOwnerRequest request;
  request.set_owner_id(owner_id);
  return Share(session_id, request);
}

inline Command Detach(const std::string& session_id, const std::string& name,
                      const std::string& value) {
  v1::DetachReferenceRequest request;
  request.set_name(name);
  request.set_value(value);
  return Share(session_id, request);
}

inline Command Import(std::shared_ptr<const Workflow> workflow, v1::ImportSessionsRequest request) {
  Command command{.caller = "tester",
                  .session_id = request.session().session_id(),
                  .workflow = std::move(workflow)};
  command.request = std::move(request);
  return command;
}

// The daemon's own, because a time has passed.
inline Command ByTimeout(Command command) {
  command.caller = "system";
  command.by_timeout = true;
  return command;
}

// The same command, as if its caller had sent this request id.
inline Command WithRequestId(Command command, const std::string& request_id) {
  std::visit(
      [&](auto& request) {
        if constexpr (requires { request.set_request_id(request_id); })
          request.set_request_id(request_id);
      },
      command.request);
  command.request_id = request_id;
  return command;
}

}  // namespace sessiond
