// The C++ client of sessiond:
//
//   sessiond::SessionClient client(sessiond::MakeChannel("127.0.0.1:7377"));
//   sessiond::v1::GetSessionRequest request;
//   request.set_session_id(id);
//   absl::StatusOr<sessiond::v1::Session> session = client.GetSession(request);
//   if (sessiond::GetReason(session.status()) == sessiond::v1::DELETED) …
//
// A method has its RPC's name and answers what the RPC answers; what it refuses, and when, stands
// with the RPC in session_service.proto. Calls block, at most for CallOptions::timeout. A change
// without a request_id is given one, the same for all its retries, so that they are safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "sessiond/call.h"
#include "sessiond/stream_range.h"
#include "sessiond/v1/session_service.grpc.pb.h"

namespace sessiond {

// A channel to `server` (`host:port`, or `unix:/path`) without encryption, that comes back quickly
// when the daemon was restarted. One channel serves any number of clients and threads.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server);

// A value: copies share the channel. Any thread may call any method.
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
  absl::StatusOr<v1::Session> DeleteSession(v1::DeleteSessionRequest request) const;
  absl::StatusOr<v1::Session> UndeleteSession(v1::UndeleteSessionRequest request) const;
  // Every event of the session, oldest first, page after page, from the request's page_token on.
  StreamRange<v1::SessionEvent> ListSessionEvents(v1::ListSessionEventsRequest request) const;

 private:
  std::shared_ptr<v1::SessionService::StubInterface> stub_;
  CallOptions options_;
};

}  // namespace sessiond
