// The clients of all services but SessionService.
#include <utility>

#include "sessiond/client.h"
#include "unary_call.h"

namespace sessiond {
namespace {

using TaskStub = v1::TaskService::StubInterface;
using ErrorStub = v1::ErrorService::StubInterface;
using MessageStub = v1::MessageService::StubInterface;
using ArtifactStub = v1::ArtifactService::StubInterface;
using WorkflowStub = v1::WorkflowService::StubInterface;
using AdminStub = v1::AdminService::StubInterface;

}  // namespace

// ---- TaskClient

TaskClient::TaskClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : TaskClient(std::shared_ptr<TaskStub>(v1::TaskService::NewStub(channel)), std::move(options)) {
}

TaskClient::TaskClient(std::shared_ptr<TaskStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

absl::StatusOr<v1::SessionTask> TaskClient::StartTask(v1::StartTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::StartTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::GetTask(v1::GetTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::GetTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::ReportTaskProgress(
    v1::ReportTaskProgressRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::ReportTaskProgress);
}

absl::StatusOr<v1::SessionTask> TaskClient::CompleteTask(v1::CompleteTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::CompleteTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::FailTask(v1::FailTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::FailTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::CancelTask(v1::CancelTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::CancelTask);
}

absl::StatusOr<v1::SessionTask> TaskClient::RetryTask(v1::RetryTaskRequest request) const {
  return UnaryCall(*stub_, options_, request, &TaskStub::RetryTask);
}

StreamRange<v1::SessionTask> TaskClient::ListTasks(v1::ListTasksRequest request) const {
  return ListCall(stub_, options_, std::move(request), &TaskStub::ListTasks,
                  &v1::ListTasksResponse::mutable_tasks);
}

// ---- ErrorClient

ErrorClient::ErrorClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : ErrorClient(std::shared_ptr<ErrorStub>(v1::ErrorService::NewStub(channel)),
                  std::move(options)) {}

ErrorClient::ErrorClient(std::shared_ptr<ErrorStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

absl::StatusOr<v1::SessionError> ErrorClient::RecordError(v1::RecordErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &ErrorStub::RecordError);
}

absl::StatusOr<v1::SessionError> ErrorClient::GetError(v1::GetErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &ErrorStub::GetError);
}

StreamRange<v1::SessionError> ErrorClient::ListErrors(v1::ListErrorsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &ErrorStub::ListErrors,
                  &v1::ListErrorsResponse::mutable_errors);
}

absl::StatusOr<v1::SessionError> ErrorClient::ResolveError(v1::ResolveErrorRequest request) const {
  return UnaryCall(*stub_, options_, request, &ErrorStub::ResolveError);
}

absl::StatusOr<v1::SummarizeErrorsResponse> ErrorClient::SummarizeErrors(
    v1::SummarizeErrorsRequest request) const {
  return UnaryCall(*stub_, options_, request, &ErrorStub::SummarizeErrors);
}

// ---- MessageClient

MessageClient::MessageClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : MessageClient(std::shared_ptr<MessageStub>(v1::MessageService::NewStub(channel)),
                    std::move(options)) {}

MessageClient::MessageClient(std::shared_ptr<MessageStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

absl::StatusOr<v1::AppendMessagesResponse> MessageClient::AppendMessages(
    v1::AppendMessagesRequest request) const {
  return UnaryCall(*stub_, options_, request, &MessageStub::AppendMessages);
}

StreamRange<v1::SessionMessage> MessageClient::ListMessages(v1::ListMessagesRequest request) const {
  return ListCall(stub_, options_, std::move(request), &MessageStub::ListMessages,
                  &v1::ListMessagesResponse::mutable_messages);
}

// ---- ArtifactClient

ArtifactClient::ArtifactClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : ArtifactClient(std::shared_ptr<ArtifactStub>(v1::ArtifactService::NewStub(channel)),
                     std::move(options)) {}

ArtifactClient::ArtifactClient(std::shared_ptr<ArtifactStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

absl::StatusOr<v1::AddArtifactsResponse> ArtifactClient::AddArtifacts(
    v1::AddArtifactsRequest request) const {
  return UnaryCall(*stub_, options_, request, &ArtifactStub::AddArtifacts);
}

StreamRange<v1::SessionArtifact> ArtifactClient::ListArtifacts(
    v1::ListArtifactsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &ArtifactStub::ListArtifacts,
                  &v1::ListArtifactsResponse::mutable_artifacts);
}

absl::StatusOr<v1::DeleteArtifactResponse> ArtifactClient::DeleteArtifact(
    v1::DeleteArtifactRequest request) const {
  return UnaryCall(*stub_, options_, request, &ArtifactStub::DeleteArtifact);
}

// ---- WorkflowClient

WorkflowClient::WorkflowClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : WorkflowClient(std::shared_ptr<WorkflowStub>(v1::WorkflowService::NewStub(channel)),
                     std::move(options)) {}

WorkflowClient::WorkflowClient(std::shared_ptr<WorkflowStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

StreamRange<v1::Workflow> WorkflowClient::ListWorkflows(v1::ListWorkflowsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &WorkflowStub::ListWorkflows,
                  &v1::ListWorkflowsResponse::mutable_workflows);
}

absl::StatusOr<v1::Workflow> WorkflowClient::GetWorkflow(v1::GetWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &WorkflowStub::GetWorkflow);
}

absl::StatusOr<v1::Workflow> WorkflowClient::CreateWorkflow(
    v1::CreateWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &WorkflowStub::CreateWorkflow);
}

absl::StatusOr<v1::ValidateWorkflowResponse> WorkflowClient::ValidateWorkflow(
    v1::ValidateWorkflowRequest request) const {
  return UnaryCall(*stub_, options_, request, &WorkflowStub::ValidateWorkflow);
}

// ---- AdminClient

AdminClient::AdminClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options)
    : AdminClient(std::shared_ptr<AdminStub>(v1::AdminService::NewStub(channel)),
                  std::move(options)) {}

AdminClient::AdminClient(std::shared_ptr<AdminStub> stub, CallOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}

absl::StatusOr<v1::EraseOwnerResponse> AdminClient::EraseOwner(
    v1::EraseOwnerRequest request) const {
  return UnaryCall(*stub_, options_, request, &AdminStub::EraseOwner);
}

absl::StatusOr<v1::DetachReferenceResponse> AdminClient::DetachReference(
    v1::DetachReferenceRequest request) const {
  return UnaryCall(*stub_, options_, request, &AdminStub::DetachReference);
}

absl::StatusOr<v1::PurgeSessionsResponse> AdminClient::PurgeSessions(
    v1::PurgeSessionsRequest request) const {
  return UnaryCall(*stub_, options_, request, &AdminStub::PurgeSessions);
}

absl::StatusOr<v1::GetServerInfoResponse> AdminClient::GetServerInfo(
    v1::GetServerInfoRequest request) const {
  return UnaryCall(*stub_, options_, request, &AdminStub::GetServerInfo);
}

}  // namespace sessiond
