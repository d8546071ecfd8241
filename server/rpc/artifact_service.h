// ArtifactService: one coroutine for each RPC, that reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in artifact_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/answer.h"
#include "server/rpc/call.h"
#include "server/rpc/changes.h"
#include "sessiond/v1/artifact_service.pb.h"

namespace sessiond::rpc {

class ArtifactService {
 public:
  // REQUIRES: both outlive the service.
  ArtifactService(db::SessionStore& store, Journal& journal)
      : store_(store), changes_(store, journal) {}

  Answer<v1::AddArtifactsResponse> AddArtifacts(CallInfo call, v1::AddArtifactsRequest request);
  Answer<v1::DeleteArtifactResponse> DeleteArtifact(CallInfo call,
                                                    v1::DeleteArtifactRequest request);
  Answer<v1::ListArtifactsResponse> ListArtifacts(CallInfo call, v1::ListArtifactsRequest request);

 private:
  db::SessionStore& store_;
  Changes changes_;
};

}  // namespace sessiond::rpc
