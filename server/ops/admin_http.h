// The daemon's HTTP side, for orchestrators and Prometheus: /livez, /readyz?verbose and /metrics.
// Nothing changes anything here, and there is no authentication: it listens on loopback unless told
// otherwise.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/address.h"
#include "server/ops/readiness.h"

namespace sessiond {

class AdminHttp {
 public:
  struct Options {
    Address listen;
    // Both outlive the server, and are asked from its threads.
    const Readiness* readiness = nullptr;
    std::function<std::string()> metrics;
  };

  // Listens and serves. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(Options options);
  // Stops; answers being written are finished first.
  ~AdminHttp();

  // With the port that was taken, where port 0 was asked for.
  const Address& address() const;

 private:
  struct Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace sessiond
