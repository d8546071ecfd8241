// SessionService: one coroutine for each RPC, that reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in session_service.proto.
#pragma once

#include "absl/status/statusor.h"
#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/journal.h"
#include "server/rpc/task.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {

template <class Reply>
using Answer = Task<absl::StatusOr<Reply>>;

class SessionService {
 public:
  // REQUIRES: both outlive the service.
  SessionService(db::SessionStore& store, Journal& journal) : store_(store), journal_(journal) {}

  Answer<v1::Session> CreateSession(CallInfo call, v1::CreateSessionRequest request);
  // Every change of an existing session: Activate, Advance, Pause, Resume, Stop, Fail, Delete,
  // Undelete, Update.
  template <class Request>
  Answer<v1::Session> ChangeSession(CallInfo call, Request request);

  Answer<v1::Session> GetSession(CallInfo call, v1::GetSessionRequest request);
  Answer<v1::LookupSessionsResponse> LookupSessions(CallInfo call,
                                                    v1::LookupSessionsRequest request);
  Answer<v1::ListSessionsResponse> ListSessions(CallInfo call, v1::ListSessionsRequest request);
  Answer<v1::CountSessionsResponse> CountSessions(CallInfo call, v1::CountSessionsRequest request);
  Answer<v1::ListSessionEventsResponse> ListSessionEvents(CallInfo call,
                                                          v1::ListSessionEventsRequest request);

 private:
  Answer<v1::Session> Submit(CallInfo call, Command command);

  db::SessionStore& store_;
  Journal& journal_;
};

}  // namespace sessiond::rpc
