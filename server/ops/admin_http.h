// The daemon's HTTP side, for orchestrators and Prometheus: /livez, /readyz?verbose and /metrics.
// It changes nothing. /livez and /readyz are open; details, and the metrics unless they are open,
// are for whoever may see everything, by the same certificates and tokens as gRPC. With a TLS
// source it speaks TLS, and asks for a client's certificate without requiring one, because probes
// have none.
//
// Boost.Beast on one thread: slow peers, or many that only connect, delay no other peer, and use a
// bounded number of descriptors.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/access/authenticator.h"
#include "server/config/address.h"
#include "server/identity/server_credentials.h"
#include "server/ops/readiness.h"

namespace sessiond {

class AdminHttp {
 public:
  struct Options {
    Address listen;
    // Both outlive the server, and are read on its thread.
    const Readiness* readiness = nullptr;
    std::function<std::string()> metrics;
    // Null: plain text.
    std::shared_ptr<const identity::TlsSource> tls = nullptr;
    // Whether somebody with these credentials may look at everything.
    std::function<bool(const access::Credentials&)> may_look = [](const access::Credentials&) {
      return true;
    };
    std::function<bool()> open_metrics = [] { return true; };
    // For a whole connection. A scrape takes some milliseconds.
    std::chrono::milliseconds time_max = std::chrono::seconds(5);
  };

  // Listens and serves. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(Options options);
  // Stops, and closes all connections.
  ~AdminHttp();

  // With the actual port, if port 0 was requested.
  const Address& address() const;

 private:
  class Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace sessiond
