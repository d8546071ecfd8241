// Calls over HTTP: the Connect protocol on one side, the dispatcher on the other. Unary calls, and
// streams in both directions as far as HTTP/1.1 goes.
#pragma once

#include <utility>

#include "server/http/asio.h"
#include "server/http/exchange.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/dispatcher.h"

namespace sessiond::http {

// What all calls share.
struct CallHost {
  rpc::Dispatcher& dispatcher;
  rpc::ByteBudget& budget;
  // Converts what is large, so that only its caller waits for it.
  asio::thread_pool& converter;
};

// Serves the request, whatever it is. REQUIRES: all outlive the task.
asio::awaitable<void> ServeCall(Exchange& exchange, CallHost& host);

// Whether a path can be that of a call: /package.Service/Method.
bool IsCallPath(absl::string_view path);

}  // namespace sessiond::http
