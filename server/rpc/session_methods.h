// SessionService's table: which coroutine serves which RPC.
#pragma once

#include "server/rpc/method.h"
#include "server/rpc/session_service.h"

namespace sessiond::rpc {

// REQUIRES: `service` outlives what is answered.
ServiceMethods SessionMethods(SessionService& service);

}  // namespace sessiond::rpc
