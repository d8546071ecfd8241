// AdminService: one coroutine for each RPC, which reads like its contract.
//
// Requests arrive parsed and validated (method.h). Work on many sessions is a query for the
// sessions that are due, and one command for each of them, in parallel.
#pragma once

#include "absl/time/time.h"
#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/call.h"
#include "server/rpc/changes.h"
#include "server/rpc/import.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/admin_service.pb.h"

namespace sessiond::rpc {

class AdminService {
 public:
  // `started`: the daemon's start time. REQUIRES: both outlive the service.
  AdminService(db::SessionStore& store, Journal& journal, absl::Time started)
      : store_(store), journal_(journal), changes_(store, journal), started_(started) {}

  Answer<v1::EraseOwnerResponse> EraseOwner(CallInfo call, v1::EraseOwnerRequest request);
  Answer<v1::DetachReferenceResponse> DetachReference(CallInfo call,
                                                      v1::DetachReferenceRequest request);
  Answer<v1::PurgeSessionsResponse> PurgeSessions(CallInfo call, v1::PurgeSessionsRequest request);
  Awaitable<absl::Status> ImportSessions(CallInfo call, ImportStream& stream);
  Answer<v1::GetServerInfoResponse> GetServerInfo(CallInfo call, v1::GetServerInfoRequest request);

 private:
  db::SessionStore& store_;
  Journal& journal_;
  Changes changes_;
  const absl::Time started_;
};

}  // namespace sessiond::rpc
