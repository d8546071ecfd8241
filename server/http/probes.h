// For orchestrators and Prometheus: /livez, /readyz?verbose and /metrics; and /openapi.json. They
// change nothing.
// /livez and /readyz are open; details, and the metrics unless they are open, are for whoever may
// see everything, by the same certificates and tokens as calls.
#pragma once

#include <functional>
#include <string>

#include "server/access/authenticator.h"
#include "server/http/exchange.h"
#include "server/ops/readiness.h"

namespace sessiond::http {

// Who asks, as far as it matters here: nobody whom the daemon knows, somebody with a role, or
// somebody who may see everything.
enum class Asker { kUnknown, kKnown, kSeesEverything };

struct Probes {
  // Outlives its use.
  const Readiness* readiness = nullptr;
  std::function<std::string()> metrics;
  // Whose these credentials are.
  std::function<Asker(const access::Credentials&)> asker = [](const access::Credentials&) {
    return Asker::kSeesEverything;
  };
  std::function<bool()> open_metrics = [] { return true; };
  // The calls, as OpenAPI (openapi.h).
  std::string open_api;

  // To whatever is not a call.
  Response Answer(const Exchange& exchange) const;
};

}  // namespace sessiond::http
