// SessionService: one coroutine for each RPC, which reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in session_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/call.h"
#include "server/rpc/changes.h"
#include "server/rpc/serialized.h"
#include "server/rpc/turns.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {

class SessionService {
 public:
  // REQUIRES: both outlive the service.
  SessionService(db::SessionStore& store, Journal& journal)
      : store_(store), journal_(journal), changes_(store, journal) {}

  Answer<v1::Session> CreateSession(CallInfo call, v1::CreateSessionRequest request);
  Answer<Serialized<v1::Session>> GetSession(CallInfo call, v1::GetSessionRequest request);
  Answer<v1::LookupSessionsResponse> LookupSessions(CallInfo call,
                                                    v1::LookupSessionsRequest request);
  Answer<v1::ListSessionsResponse> ListSessions(CallInfo call, v1::ListSessionsRequest request);
  Answer<v1::CountSessionsResponse> CountSessions(CallInfo call, v1::CountSessionsRequest request);
  Answer<v1::ListRecoverableSessionsResponse> ListRecoverableSessions(
      CallInfo call, v1::ListRecoverableSessionsRequest request);
  Answer<v1::ListSessionEventsResponse> ListSessionEvents(CallInfo call,
                                                          v1::ListSessionEventsRequest request);

 private:
  db::SessionStore& store_;
  Journal& journal_;
  Changes changes_;
  // By ids: look-ups hold sessions until their replies are made, and sessions may be large.
  Turns lookups_{256};
};

}  // namespace sessiond::rpc
