// The daemon's HTTP side, for orchestrators and Prometheus: /livez, /readyz?verbose and /metrics.
// Nothing changes anything here, and there is no authentication: it listens on loopback unless told
// otherwise.
//
// Boost.Beast on one thread: whoever dawdles, or many who only connect, keep nobody else waiting,
// and cost a bounded number of descriptors.
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
    // Both outlive the server, and are asked from its thread.
    const Readiness* readiness = nullptr;
    std::function<std::string()> metrics;
    // From a connection's beginning to its end. A scrape takes some milliseconds.
    std::chrono::milliseconds time_max = std::chrono::seconds(5);
  };

  // Listens and serves. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(Options options);
  // Stops, and hangs up on whoever is there.
  ~AdminHttp();

  // With the port that was taken, where port 0 was asked for.
  const Address& address() const;

 private:
  class Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace sessiond
