// The reads of ErrorService: one coroutine for each RPC, which reads like its contract. Its verbs
// are rows of state_machine/verbs.inc.
//
// Requests arrive parsed and validated (method.h). Refusals are named in error_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/error_service.pb.h"

namespace sessiond::rpc {

class ErrorService {
 public:
  // REQUIRES: the store outlives the service.
  explicit ErrorService(db::SessionStore& store) : store_(store) {}

  Answer<v1::SessionError> GetError(CallInfo call, v1::GetErrorRequest request);
  Answer<v1::ListErrorsResponse> ListErrors(CallInfo call, v1::ListErrorsRequest request);
  Answer<v1::SummarizeErrorsResponse> SummarizeErrors(CallInfo call,
                                                      v1::SummarizeErrorsRequest request);

 private:
  db::SessionStore& store_;
};

}  // namespace sessiond::rpc
