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

// Clients are values: copies share the channel. Any thread may call any method. WithOptions makes a
// copy that calls differently: client.WithOptions({.timeout = absl::Seconds(1)}).GetSession(…).

class SessionClient {
 public:
  explicit SessionClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit SessionClient(std::shared_ptr<v1::SessionService::StubInterface> stub,
                         CallOptions options = {});

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

  SessionClient WithOptions(CallOptions options) const {
    return SessionClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::SessionService::StubInterface> stub_;
  CallOptions options_;
};

class TaskClient {
 public:
  explicit TaskClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit TaskClient(std::shared_ptr<v1::TaskService::StubInterface> stub,
                      CallOptions options = {});

  absl::StatusOr<v1::SessionTask> StartTask(v1::StartTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> GetTask(v1::GetTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> ReportTaskProgress(v1::ReportTaskProgressRequest request) const;
  absl::StatusOr<v1::SessionTask> CompleteTask(v1::CompleteTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> FailTask(v1::FailTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> CancelTask(v1::CancelTaskRequest request) const;
  absl::StatusOr<v1::SessionTask> RetryTask(v1::RetryTaskRequest request) const;
  // Every current task that matches, page after page, from the request's page_token on.
  StreamRange<v1::SessionTask> ListTasks(v1::ListTasksRequest request) const;

  TaskClient WithOptions(CallOptions options) const {
    return TaskClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::TaskService::StubInterface> stub_;
  CallOptions options_;
};

class ErrorClient {
 public:
  explicit ErrorClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit ErrorClient(std::shared_ptr<v1::ErrorService::StubInterface> stub,
                       CallOptions options = {});

  absl::StatusOr<v1::SessionError> RecordError(v1::RecordErrorRequest request) const;
  absl::StatusOr<v1::SessionError> GetError(v1::GetErrorRequest request) const;
  // Every error that matches, newest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionError> ListErrors(v1::ListErrorsRequest request) const;
  absl::StatusOr<v1::SessionError> ResolveError(v1::ResolveErrorRequest request) const;
  absl::StatusOr<v1::SummarizeErrorsResponse> SummarizeErrors(
      v1::SummarizeErrorsRequest request) const;

  ErrorClient WithOptions(CallOptions options) const {
    return ErrorClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::ErrorService::StubInterface> stub_;
  CallOptions options_;
};

class MessageClient {
 public:
  explicit MessageClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit MessageClient(std::shared_ptr<v1::MessageService::StubInterface> stub,
                         CallOptions options = {});

  absl::StatusOr<v1::AppendMessagesResponse> AppendMessages(
      v1::AppendMessagesRequest request) const;
  // Every message of the session, in the requested order, page after page, from the request's
  // page_token on.
  StreamRange<v1::SessionMessage> ListMessages(v1::ListMessagesRequest request) const;

  MessageClient WithOptions(CallOptions options) const {
    return MessageClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::MessageService::StubInterface> stub_;
  CallOptions options_;
};

class ArtifactClient {
 public:
  explicit ArtifactClient(std::shared_ptr<grpc::ChannelInterface> channel,
                          CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit ArtifactClient(std::shared_ptr<v1::ArtifactService::StubInterface> stub,
                          CallOptions options = {});

  absl::StatusOr<v1::AddArtifactsResponse> AddArtifacts(v1::AddArtifactsRequest request) const;
  // Every artifact of the session, oldest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionArtifact> ListArtifacts(v1::ListArtifactsRequest request) const;
  absl::StatusOr<v1::DeleteArtifactResponse> DeleteArtifact(
      v1::DeleteArtifactRequest request) const;

  ArtifactClient WithOptions(CallOptions options) const {
    return ArtifactClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::ArtifactService::StubInterface> stub_;
  CallOptions options_;
};

class WorkflowClient {
 public:
  explicit WorkflowClient(std::shared_ptr<grpc::ChannelInterface> channel,
                          CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit WorkflowClient(std::shared_ptr<v1::WorkflowService::StubInterface> stub,
                          CallOptions options = {});

  // Every definition, by name, page after page, from the request's page_token on.
  StreamRange<v1::Workflow> ListWorkflows(v1::ListWorkflowsRequest request) const;
  absl::StatusOr<v1::Workflow> GetWorkflow(v1::GetWorkflowRequest request) const;
  absl::StatusOr<v1::Workflow> CreateWorkflow(v1::CreateWorkflowRequest request) const;
  absl::StatusOr<v1::ValidateWorkflowResponse> ValidateWorkflow(
      v1::ValidateWorkflowRequest request) const;

  WorkflowClient WithOptions(CallOptions options) const {
    return WorkflowClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::WorkflowService::StubInterface> stub_;
  CallOptions options_;
};

class AdminClient {
 public:
  explicit AdminClient(std::shared_ptr<grpc::ChannelInterface> channel, CallOptions options = {});
  // Over a stub of your own, for tests.
  explicit AdminClient(std::shared_ptr<v1::AdminService::StubInterface> stub,
                       CallOptions options = {});

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
  // the errors began. Before it returns with an error it waits for `next`, which may itself be
  // waiting: `given_up` is called to end that wait.
  absl::Status ImportSessions(
      std::function<absl::StatusOr<std::optional<v1::ImportSessionsRequest>>()> next,
      std::function<void(const v1::ImportSessionsResponse&)> answered,
      std::function<void()> given_up = [] {}) const;

  AdminClient WithOptions(CallOptions options) const {
    return AdminClient(stub_, std::move(options));
  }
  const CallOptions& options() const { return options_; }

 private:
  std::shared_ptr<v1::AdminService::StubInterface> stub_;
  CallOptions options_;
};

}  // namespace sessiond
