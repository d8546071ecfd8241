// The daemon's HTTP side, for orchestrators and Prometheus: /livez, /readyz?verbose and /metrics.
// It changes nothing and has no authentication: by default it listens on loopback only.
//
// Boost.Beast on one thread: slow peers, or many that only connect, delay no other peer, and use a
// bounded number of descriptors.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/address.h"
#include "server/ops/readiness.h"

namespace sessiond {

class AdminHttp {
 public:
  struct Options {
    Address listen;
    // Both outlive the server, and are read on its thread.
    const Readiness* readiness = nullptr;
    std::function<std::string()> metrics;
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
