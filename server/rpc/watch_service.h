// WatchSessions: the present state, a bookmark, and then every change, once and in order.
#pragma once

#include "db/base/coroutine.h"
#include "db/session_store.h"
#include "server/rpc/call.h"
#include "server/rpc/stream.h"
#include "server/watch/hub_feeder.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {

class WatchService {
 public:
  using Watch = Stream<v1::WatchSessionsRequest, v1::WatchSessionsResponse>;

  // REQUIRES: both outlive the service.
  WatchService(db::SessionStore& store, watch::HubFeeder& feeder)
      : store_(store), feeder_(feeder) {}

  Awaitable<absl::Status> WatchSessions(CallInfo call, Watch& stream);

 private:
  db::SessionStore& store_;
  watch::HubFeeder& feeder_;
};

}  // namespace sessiond::rpc
