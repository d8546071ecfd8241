// The reads of MessageService: one coroutine for each RPC, which reads like its contract. Its verbs
// are rows of state_machine/verbs.inc.
//
// Requests arrive parsed and validated (method.h). Refusals are named in message_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/serialized.h"
#include "sessiond/v1/message_service.pb.h"

namespace sessiond::rpc {

class MessageService {
 public:
  // REQUIRES: the store outlives the service.
  explicit MessageService(db::SessionStore& store) : store_(store) {}

  Answer<v1::ListMessagesResponse> ListMessages(CallInfo call, v1::ListMessagesRequest request);

 private:
  db::SessionStore& store_;
};

}  // namespace sessiond::rpc
