#include "sessiond/client.h"

#include <utility>

#include "unary_call.h"

namespace sessiond {

absl::StatusOr<v1::Session> SessionClient::CreateSession(v1::CreateSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::CreateSession);
}

absl::StatusOr<v1::Session> SessionClient::ActivateSession(
    v1::ActivateSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ActivateSession);
}

absl::StatusOr<v1::Session> SessionClient::GetSession(v1::GetSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::GetSession);
}

absl::StatusOr<v1::LookupSessionsResponse> SessionClient::LookupSessions(
    v1::LookupSessionsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::LookupSessions);
}

absl::StatusOr<v1::CountSessionsResponse> SessionClient::CountSessions(
    v1::CountSessionsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::CountSessions);
}

absl::StatusOr<v1::Session> SessionClient::UpdateSession(v1::UpdateSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::UpdateSession);
}

absl::StatusOr<v1::Session> SessionClient::AdvanceSession(v1::AdvanceSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::AdvanceSession);
}

absl::StatusOr<v1::Session> SessionClient::PauseSession(v1::PauseSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::PauseSession);
}

absl::StatusOr<v1::Session> SessionClient::ResumeSession(v1::ResumeSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ResumeSession);
}

absl::StatusOr<v1::Session> SessionClient::StopSession(v1::StopSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::StopSession);
}

absl::StatusOr<v1::Session> SessionClient::FailSession(v1::FailSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::FailSession);
}

absl::StatusOr<v1::Session> SessionClient::DeleteSession(v1::DeleteSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::DeleteSession);
}

absl::StatusOr<v1::Session> SessionClient::UndeleteSession(
    v1::UndeleteSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::UndeleteSession);
}

absl::StatusOr<v1::ListRecoverableSessionsResponse> SessionClient::ListRecoverableSessions(
    v1::ListRecoverableSessionsRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::ListRecoverableSessions);
}

absl::StatusOr<v1::Session> SessionClient::RecoverSession(v1::RecoverSessionRequest request) const {
  return UnaryCall(*stub_, options_, request, &Stub::RecoverSession);
}

StreamRange<v1::Session> SessionClient::ListSessions(v1::ListSessionsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListSessions,
                  &v1::ListSessionsResponse::mutable_sessions);
}

StreamRange<v1::SessionEvent> SessionClient::ListSessionEvents(
    v1::ListSessionEventsRequest request) const {
  return ListCall(stub_, options_, std::move(request), &Stub::ListSessionEvents,
                  &v1::ListSessionEventsResponse::mutable_events);
}

}  // namespace sessiond
