// The C++ clients of sessiond's services. sessiond/connect.h has all of them in one object, with
// watches and tasks:
//
//   sessiond::SessionClient client(sessiond::MakeChannel("127.0.0.1:7377"));
//   sessiond::v1::GetSessionRequest request;
//   request.set_session_id(id);
//   absl::StatusOr<sessiond::v1::Session> session = client.GetSession(request);
//   if (sessiond::GetReason(session.status()) == sessiond::v1::DELETED) …
//
// There is one client for each service. A method has its RPC's name and returns its response; the
// service's proto documents its refusals. Calls block, at most for CallOptions::timeout. A change
// without a request_id gets one, the same for all its retries, so that they are safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/channel.h"
#include "sessiond/call.h"
#include "sessiond/stream_range.h"
#include "sessiond/v1/admin_service.grpc.pb.h"
#include "sessiond/v1/artifact_service.grpc.pb.h"
#include "sessiond/v1/error_service.grpc.pb.h"
#include "sessiond/v1/message_service.grpc.pb.h"
#include "sessiond/v1/session_service.grpc.pb.h"
#include "sessiond/v1/task_service.grpc.pb.h"
#include "sessiond/v1/workflow_service.grpc.pb.h"

namespace sessiond {

// The version of this library, which is the daemon's: `0.1.0`. Calls carry it in their user-agent.
absl::string_view Version();

// A channel to `server` (`host:port`, or `unix:/path`) without encryption, which reconnects quickly
// after a restart of the daemon. One channel serves any number of clients and threads; each has a
// connection of its own. With TLS or a token: sessiond/credentials.h.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server);

// What the clients have in common. They are values: copies share the channel. Any thread may call
// any method.
template <class Derived, class Service>
class ServiceClient {
 public:
  using Stub = typename Service::StubInterface;

  explicit ServiceClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {})
      : ServiceClient(std::shared_ptr<Stub>(Service::NewStub(channel)), std::move(options)) {}
  // Over a stub of your own, for tests.
  explicit ServiceClient(std::shared_ptr<Stub> stub, CallOptions options = {})
      : stub_(std::move(stub)), options_(std::move(options)) {}

  // A copy that calls differently: client.WithOptions({.timeout = absl::Seconds(1)}).GetSession(…).
  Derived WithOptions(CallOptions options) const { return Derived(stub_, std::move(options)); }
  const CallOptions& options() const { return options_; }

 protected:
  std::shared_ptr<Stub> stub_;
  CallOptions options_;
};

class SessionClient : public ServiceClient<SessionClient, v1::SessionService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::Session> CreateSession(v1::CreateSessionRequest request) const;
  absl::StatusOr<v1::Session> ActivateSession(v1::ActivateSessionRequest request) const;
  absl::StatusOr<v1::Session> GetSession(v1::GetSessionRequest request) const;
  absl::StatusOr<v1::LookupSessionsResponse> LookupSessions(
      v1::LookupSessionsRequest request) const;
  // Every session that matches, page after page, from the request's page_token on.
  StreamRange<v1::Session> ListSessions(v1::ListSessionsRequest request) const;
  absl::StatusOr<v1::CountSessionsResponse> CountSessions(v1::CountSessionsRequest request) const;
  absl::StatusOr<v1::Session> UpdateSession(v1::UpdateSessionRequest request) const;
  absl::StatusOr<v1::Session> AdvanceSession(v1::AdvanceSessionRequest request) const;
  absl::StatusOr<v1::Session> PauseSession(v1::PauseSessionRequest request) const;
  absl::StatusOr<v1::Session> ResumeSession(v1::ResumeSessionRequest request) const;
  absl::StatusOr<v1::Session> StopSession(v1::StopSessionRequest request) const;
  absl::StatusOr<v1::Session> FailSession(v1::FailSessionRequest request) const;
  absl::StatusOr<v1::ListRecoverableSessionsResponse> ListRecoverableSessions(
      v1::ListRecoverableSessionsRequest request) const;
  absl::StatusOr<v1::Session> RecoverSession(v1::RecoverSessionRequest request) const;
  absl::StatusOr<v1::Session> DeleteSession(v1::DeleteSessionRequest request) const;
  absl::StatusOr<v1::Session> UndeleteSession(v1::UndeleteSessionRequest request) const;
  // Every event of the session, oldest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionEvent> ListSessionEvents(v1::ListSessionEventsRequest request) const;
};

class TaskClient : public ServiceClient<TaskClient, v1::TaskService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::SessionTask> StartTask(v1::StartTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> GetTask(v1::GetTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> ReportTaskProgress(v1::ReportTaskProgressRequest request) const;
  absl::StatusOr<v1::SessionTask> CompleteTask(v1::CompleteTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> FailTask(v1::FailTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> CancelTask(v1::CancelTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> RetryTask(v1::RetryTaskRequest request) const;
  // Every current task that matches, page after page, from the request's page_token on.
  StreamRange<v1::SessionTask> ListTasks(v1::ListTasksRequest request) const;
};

class ErrorClient : public ServiceClient<ErrorClient, v1::ErrorService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::SessionError> RecordError(v1::RecordErrorRequest request) const;
  absl::StatusOr<v1::SessionError> GetError(v1::GetErrorRequest request) const;
  // Every error that matches, newest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionError> ListErrors(v1::ListErrorsRequest request) const;
  absl::StatusOr<v1::SessionError> ResolveError(v1::ResolveErrorRequest request) const;
  absl::StatusOr<v1::SummarizeErrorsResponse> SummarizeErrors(
      v1::SummarizeErrorsRequest request) const;
};

class MessageClient : public ServiceClient<MessageClient, v1::MessageService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::AppendMessagesResponse> AppendMessages(
      v1::AppendMessagesRequest request) const;
  // Every message of the session, in the requested order, page after page, from the request's
  // page_token on.
  StreamRange<v1::SessionMessage> ListMessages(v1::ListMessagesRequest request) const;
};

class ArtifactClient : public ServiceClient<ArtifactClient, v1::ArtifactService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::AddArtifactsResponse> AddArtifacts(v1::AddArtifactsRequest request) const;
  // Every artifact of the session, oldest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionArtifact> ListArtifacts(v1::ListArtifactsRequest request) const;
  absl::StatusOr<v1::DeleteArtifactResponse> DeleteArtifact(
      v1::DeleteArtifactRequest request) const;
};

class WorkflowClient : public ServiceClient<WorkflowClient, v1::WorkflowService> {
 public:
  using ServiceClient::ServiceClient;

  // Every definition, by name, page after page, from the request's page_token on.
  StreamRange<v1::Workflow> ListWorkflows(v1::ListWorkflowsRequest request) const;
  absl::StatusOr<v1::Workflow> GetWorkflow(v1::GetWorkflowRequest request) const;
  absl::StatusOr<v1::Workflow> CreateWorkflow(v1::CreateWorkflowRequest request) const;
  absl::StatusOr<v1::ValidateWorkflowResponse> ValidateWorkflow(
      v1::ValidateWorkflowRequest request) const;
};

class AdminClient : public ServiceClient<AdminClient, v1::AdminService> {
 public:
  using ServiceClient::ServiceClient;

  absl::StatusOr<v1::EraseOwnerResponse> EraseOwner(v1::EraseOwnerRequest request) const;
  absl::StatusOr<v1::DetachReferenceResponse> DetachReference(
      v1::DetachReferenceRequest request) const;
  absl::StatusOr<v1::PurgeSessionsResponse> PurgeSessions(v1::PurgeSessionsRequest request) const;
  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo(v1::GetServerInfoRequest request) const;
  // Imports existing sessions. `next` returns them one by one, and nothing at their end; it is
  // called on a thread of its own. `answered` gets the result of each, in the order of sending, on
  // the calling thread. Up to 256 sessions, or 8 MiB, are in progress at a time.
  //
  // Lost connections and temporary refusals are handled: what was not answered is sent again.
  // Returns OK when all are answered; the status of `next` when it fails, after all before it are
  // answered; the daemon's last error when no session was answered for CallOptions::timeout since
  // the errors began; CANCELLED when CallOptions::stop ends it. Before it returns with an error it
  // waits for `next`, which may itself be waiting: `given_up` is called to end that wait.
  absl::Status ImportSessions(
      std::function<absl::StatusOr<std::optional<v1::ImportSessionsRequest>>()> next,
      std::function<void(const v1::ImportSessionsResponse&)> answered,
      std::function<void()> given_up = [] {}) const;
};

}  // namespace sessiond
