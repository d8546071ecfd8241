// The clients of all services but SessionService.
#include <utility>

#include "sessiond/client.h"
#include "unary_call.h"

namespace sessiond {

// ---- TaskClient

absl::StatusOr<v1::SessionTask> TaskClient::StartTask(v1::StartTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::StartTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::GetTask(v1::GetTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::GetTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::ReportTaskProgress(
    v1::ReportTaskProgressRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ReportTaskProgress);
}

absl::StatusOr<v1::SessionTask> TaskClient::CompleteTask(v1::CompleteTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::CompleteTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::FailTask(v1::FailTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::FailTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::CancelTask(v1::CancelTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::CancelTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::RetryTask(v1::RetryTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::RetryTask);
}

StreamRange<v1::SessionTask> TaskClient::ListTasks(v1::ListTasksRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListTasks,
                  &v1::ListTasksResponse::mutable_tasks);
}

// ---- ErrorClient

absl::StatusOr<v1::SessionError> ErrorClient::RecordError(v1::RecordErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::RecordError);
}

absl::StatusOr<v1::SessionError> ErrorClient::GetError(v1::GetErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::GetError);
}

StreamRange<v1::SessionError> ErrorClient::ListErrors(v1::ListErrorsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListErrors,
                  &v1::ListErrorsResponse::mutable_errors);
}

absl::StatusOr<v1::SessionError> ErrorClient::ResolveError(v1::ResolveErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ResolveError);
}

absl::StatusOr<v1::SummarizeErrorsResponse> ErrorClient::SummarizeErrors(
    v1::SummarizeErrorsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::SummarizeErrors);
}

// ---- MessageClient

absl::StatusOr<v1::AppendMessagesResponse> MessageClient::AppendMessages(
    v1::AppendMessagesRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::AppendMessages);
}

StreamRange<v1::SessionMessage> MessageClient::ListMessages(v1::ListMessagesRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListMessages,
                  &v1::ListMessagesResponse::mutable_messages);
}

// ---- ArtifactClient

absl::StatusOr<v1::AddArtifactsResponse> ArtifactClient::AddArtifacts(
    v1::AddArtifactsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::AddArtifacts);
}

StreamRange<v1::SessionArtifact> ArtifactClient::ListArtifacts(
    v1::ListArtifactsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListArtifacts,
                  &v1::ListArtifactsResponse::mutable_artifacts);
}

absl::StatusOr<v1::DeleteArtifactResponse> ArtifactClient::DeleteArtifact(
    v1::DeleteArtifactRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::DeleteArtifact);
}

// ---- WorkflowClient

StreamRange<v1::Workflow> WorkflowClient::ListWorkflows(v1::ListWorkflowsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListWorkflows,
                  &v1::ListWorkflowsResponse::mutable_workflows);
}

absl::StatusOr<v1::Workflow> WorkflowClient::GetWorkflow(v1::GetWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::GetWorkflow);
}

absl::StatusOr<v1::Workflow> WorkflowClient::CreateWorkflow(
    v1::CreateWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::CreateWorkflow);
}

absl::StatusOr<v1::ValidateWorkflowResponse> WorkflowClient::ValidateWorkflow(
    v1::ValidateWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ValidateWorkflow);
}

// ---- AdminClient

absl::StatusOr<v1::EraseOwnerResponse> AdminClient::EraseOwner(
    v1::EraseOwnerRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::EraseOwner);
}

absl::StatusOr<v1::DetachReferenceResponse> AdminClient::DetachReference(
    v1::DetachReferenceRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::DetachReference);
}

absl::StatusOr<v1::PurgeSessionsResponse> AdminClient::PurgeSessions(
    v1::PurgeSessionsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::PurgeSessions);
}

absl::StatusOr<v1::GetServerInfoResponse> AdminClient::GetServerInfo(
    v1::GetServerInfoRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::GetServerInfo);
}

}  // namespace sessiond
