#include "server/rpc/session_methods.h"

namespace sessiond::rpc {

ServiceMethods SessionMethods(SessionService& service) {
  const auto* file = v1::CreateSessionRequest::descriptor()->file();
  using S = SessionService;
  return {
      .descriptor = file->FindServiceByName("SessionService"),
      .methods =
          {
              Bind("CreateSession", service, &S::CreateSession),
              Bind("ActivateSession", service, &S::ChangeSession<v1::ActivateSessionRequest>),
              Bind("GetSession", service, &S::GetSession),
              Bind("LookupSessions", service, &S::LookupSessions),
              Bind("ListSessions", service, &S::ListSessions),
              Bind("CountSessions", service, &S::CountSessions),
              Bind("UpdateSession", service, &S::ChangeSession<v1::UpdateSessionRequest>),
              Bind("AdvanceSession", service, &S::ChangeSession<v1::AdvanceSessionRequest>),
              Bind("PauseSession", service, &S::ChangeSession<v1::PauseSessionRequest>),
              Bind("ResumeSession", service, &S::ChangeSession<v1::ResumeSessionRequest>),
              Bind("StopSession", service, &S::ChangeSession<v1::StopSessionRequest>),
              Bind("FailSession", service, &S::ChangeSession<v1::FailSessionRequest>),
              Bind("DeleteSession", service, &S::ChangeSession<v1::DeleteSessionRequest>),
              Bind("UndeleteSession", service, &S::ChangeSession<v1::UndeleteSessionRequest>),
              Bind("ListSessionEvents", service, &S::ListSessionEvents),
          },
  };
}

}  // namespace sessiond::rpc
