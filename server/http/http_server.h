// The daemon's HTTP side: every call of the contract in the Connect protocol (connect_call.h), and
// what orchestrators and Prometheus ask for (probes.h). With `tls` it speaks TLS, and asks
// for a client's certificate without requiring one, because probes have none.
//
// Boost.Beast on one thread: slow peers, or many that only connect, delay no other peer, and use a
// bounded number of descriptors and bytes.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/address.h"
#include "server/http/connection.h"
#include "server/http/cors.h"
#include "server/http/probes.h"
#include "server/identity/current_tls.h"
#include "server/ops/metrics.h"
#include "server/rpc/dispatcher.h"

namespace sessiond::http {

class HttpServer {
 public:
  struct Options {
    Address listen;
    Probes probes;
    // Serves the calls; null: there are none. Outlives the server.
    rpc::Dispatcher* dispatcher = nullptr;
    Cors cors;
    // Null: plain text.
    std::shared_ptr<const identity::CurrentTls> tls = nullptr;
    Times times;
    // A further connection replaces the oldest one that waits for a request. If none does, it is
    // closed.
    std::size_t connections_max = 1024;
    // Of one address (front_door::AddressOf): a further one replaces that address's oldest.
    std::size_t connections_per_address_max = 1000;
    // Counts who was closed for their address; null: nobody does. Outlives the server.
    Metrics* metrics = nullptr;
    // Of requests, and of replies, held at a time.
    std::size_t bytes_max = 48 << 20;
  };

  // Listens and serves. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(Options options);
  // Takes no connection any more, answers what is on its way on those that there are, for
  // Times::last at most, ends calls, and closes all connections.
  ~HttpServer();

  // Cuts the connections whose calls run, and waits until every call's answer is taken, or its
  // connection cut. Probes are still answered. REQUIRES: the dispatcher refuses new calls.
  void EndCalls();

  // With the actual port, if port 0 was requested.
  const Address& address() const;

 private:
  class Server;
  explicit HttpServer(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace sessiond::http
