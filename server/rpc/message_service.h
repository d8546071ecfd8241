// MessageService: one coroutine for each RPC, that reads like its contract.
//
// Requests arrive parsed and validated (method.h). Refusals are named in message_service.proto.
#pragma once

#include "db/session_store.h"
#include "server/ops/journal.h"
#include "server/rpc/answer.h"
#include "server/rpc/call.h"
#include "server/rpc/changes.h"
#include "sessiond/v1/message_service.pb.h"

namespace sessiond::rpc {

class MessageService {
 public:
  // REQUIRES: both outlive the service.
  MessageService(db::SessionStore& store, Journal& journal)
      : store_(store), changes_(store, journal) {}

  Answer<v1::AppendMessagesResponse> AppendMessages(CallInfo call,
                                                    v1::AppendMessagesRequest request);
  Answer<v1::ListMessagesResponse> ListMessages(CallInfo call, v1::ListMessagesRequest request);

 private:
  db::SessionStore& store_;
  Changes changes_;
};

}  // namespace sessiond::rpc
