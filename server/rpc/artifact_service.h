// The reads of ArtifactService: one coroutine for each RPC, which reads like its contract. Its
// verbs are rows of state_machine/verbs.inc.
//
// Requests arrive parsed and validated (method.h). Refusals are named in artifact_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/artifact_service.pb.h"

namespace sessiond::rpc {

class ArtifactService {
 public:
  // REQUIRES: the store outlives the service.
  explicit ArtifactService(db::SessionStore& store) : store_(store) {}

  Answer<v1::ListArtifactsResponse> ListArtifacts(CallInfo call, v1::ListArtifactsRequest request);

 private:
  db::SessionStore& store_;
};

}  // namespace sessiond::rpc
