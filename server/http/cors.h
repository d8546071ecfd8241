// Which pages of browsers are let in. A browser asks on behalf of a page, and on a loopback without
// credentials whatever page its user has open could change sessions: so a request that a page made
// is served only if its origin is allowed, preflight or not. Callers that are no browsers send none
// of these headers.
#pragma once

#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "server/http/exchange.h"

namespace sessiond::http {

class Cors {
 public:
  // Origins with commas, such as https://app.example; * for all.
  explicit Cors(absl::string_view origins);
  // None is let in.
  Cors() = default;

  // Whether all are let in.
  bool any() const { return any_; }
  // Whether the request is served.
  bool Allows(const Exchange& exchange) const;
  // What a page gets that is not let in.
  static Response Refusal();
  // The answer to OPTIONS.
  Response Preflight(const Exchange& exchange) const;
  // What lets the page read the response.
  void Mark(const Exchange& exchange, Response& response) const;

 private:
  bool Has(absl::string_view origin) const;

  bool any_ = false;
  std::set<std::string, std::less<>> origins_;
};

}  // namespace sessiond::http
