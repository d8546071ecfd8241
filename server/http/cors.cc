#include "server/http/cors.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace sessiond::http {
namespace {

constexpr absl::string_view kOrigin = "Origin";
// How long a browser may remember the answer to a preflight, in seconds. Chromium's maximum.
constexpr char kRemembered[] = "7200";
constexpr char kHeadersAllowed[] =
    "Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, Content-Type, Traceparent, "
    "Tracestate, X-User-Agent";
constexpr char kHeadersExposed[] = "Retry-After, Trailer-Grpc-Retry-Pushback-Ms";

}  // namespace

Cors::Cors(absl::string_view origins) {
  for (absl::string_view origin : absl::StrSplit(origins, ',', absl::SkipWhitespace())) {
    origin = absl::StripAsciiWhitespace(origin);
    if (origin == "*") {
      any_ = true;
    } else {
      origins_.emplace(origin);
    }
  }
}

bool Cors::Has(absl::string_view origin) const { return any_ || origins_.contains(origin); }

bool Cors::Allows(const Exchange& exchange) const {
  if (const auto origin = exchange.Find(kOrigin); origin.has_value()) return Has(*origin);
  // A GET of a page to its own server has no origin. There are no pages here, so the name of this
  // server would be one that the page's owner made up (DNS rebinding). `none`: a person typed it.
  const auto site = exchange.Find("Sec-Fetch-Site");
  return !site.has_value() || *site == "none";
}

Response Cors::Refusal() {
  return TextResponse(
      403, "Pages of this origin are not let in: see --http-allow-origins of the daemon.\n");
}

Response Cors::Preflight(const Exchange& exchange) const {
  if (!exchange.Find(kOrigin).has_value() || !Allows(exchange)) return Refusal();
  Response allowed = TextResponse(204, "");
  allowed.set(beast::http::field::access_control_allow_methods, "GET, POST");
  allowed.set(beast::http::field::access_control_allow_headers, kHeadersAllowed);
  allowed.set(beast::http::field::access_control_max_age, kRemembered);
  return allowed;
}

void Cors::Mark(const Exchange& exchange, Response& response) const {
  if (!any_ && origins_.empty()) return;
  response.set(beast::http::field::vary, "Origin");
  const auto origin = exchange.Find(kOrigin);
  if (!origin.has_value() || !Has(*origin)) return;
  response.set(beast::http::field::access_control_allow_origin, {origin->data(), origin->size()});
  response.set(beast::http::field::access_control_expose_headers, kHeadersExposed);
}

}  // namespace sessiond::http
