#include "server/http/probes.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace sessiond::http {
namespace {

using beast::http::field;
using beast::http::verb;

// Whether a query has a parameter of this name, with or without a value.
bool Has(absl::string_view query, absl::string_view name) {
  for (const absl::string_view pair : absl::StrSplit(query, '&')) {
    if (pair.substr(0, pair.find('=')) == name) return true;
  }
  return false;
}

std::string ReadinessPage(const Readiness& readiness, bool verbose, bool* ready) {
  const SteadyTime now = SteadyTime::Now();
  *ready = readiness.ready(now);
  std::string text;
  for (const Readiness::Check& check : readiness.Checks(now)) {
    if (verbose || !check.ok) {
      absl::StrAppend(&text, check.ok ? "[+] " : "[-] ", check.name, ": ", check.detail, "\n");
    }
  }
  absl::StrAppend(&text, *ready ? "ready\n" : "not ready\n");
  return text;
}

Response WhoAreYou() {
  Response refused =
      TextResponse(401, "This is for callers with a role: bring a token or a certificate.\n");
  refused.set(field::www_authenticate, "Bearer");
  return refused;
}

// To whoever may not see everything. Another token helps those who are known as little as none.
Response NotForYou(Asker asker) {
  if (asker == Asker::kUnknown) return WhoAreYou();
  return TextResponse(403, "This is for callers who may see the sessions of all namespaces.\n");
}

constexpr absl::string_view kIndex =
    "sessiond " SESSIOND_VERSION
    "\n/livez\n/readyz?verbose\n/metrics\n/openapi.json\n"
    "POST /sessiond.v1.SessionService/GetSession {\"sessionId\": \"...\"}, and every other call\n";

// To whoever does not ask for a page, at the path of one or not.
Response NoCall(bool is_page) {
  if (!is_page) {
    return TextResponse(404,
                        "There is no such call: they are POST /sessiond.v1.SERVICE/METHOD, and "
                        "/openapi.json has them all.\n");
  }
  Response refused = TextResponse(405, "Nothing can be changed here: use GET.\n");
  refused.set(field::allow, "GET, HEAD");
  return refused;
}

Response Index(const Probes&, const Exchange&) { return TextResponse(200, std::string(kIndex)); }

Response Livez(const Probes& probes, const Exchange&) {
  if (probes.readiness->alive(SteadyTime::Now())) return TextResponse(200, "alive\n");
  return TextResponse(503,
                      "not alive: it has stopped going round, or answering on its own port; "
                      "/readyz?verbose says more, and a restart helps\n");
}

Response Readyz(const Probes& probes, const Exchange& exchange) {
  const bool verbose = Has(exchange.target().second, "verbose");
  const Asker who = probes.asker(exchange.credentials());
  if (verbose && who != Asker::kSeesEverything) return NotForYou(who);
  bool ready = false;
  std::string page = ReadinessPage(*probes.readiness, verbose, &ready);
  if (who != Asker::kSeesEverything) page = ready ? "ready\n" : "not ready\n";
  return TextResponse(ready ? 200 : 503, std::move(page));
}

Response Metrics(const Probes& probes, const Exchange& exchange) {
  if (!probes.open_metrics()) {
    const Asker who = probes.asker(exchange.credentials());
    if (who != Asker::kSeesEverything) return NotForYou(who);
  }
  return MakeResponse(200, probes.metrics(), "text/plain; version=0.0.4; charset=utf-8");
}

Response OpenApi(const Probes& probes, const Exchange& exchange) {
  if (probes.asker(exchange.credentials()) == Asker::kUnknown) return WhoAreYou();
  return MakeResponse(200, probes.open_api, "application/json");
}

struct Page {
  absl::string_view path;
  Response (*answer)(const Probes& probes, const Exchange& exchange);
};

constexpr Page kPages[] = {{"/", Index},
                           {"/livez", Livez},
                           {"/readyz", Readyz},
                           {"/metrics", Metrics},
                           {"/openapi.json", OpenApi}};

}  // namespace

Response Probes::Answer(const Exchange& exchange) const {
  const auto path = exchange.target().first;
  const auto* page = std::find_if(std::begin(kPages), std::end(kPages),
                                  [&](const Page& each) { return each.path == path; });
  const bool is_page = page != std::end(kPages);
  const bool gets = exchange.head().method() == verb::get || exchange.head().method() == verb::head;
  if (!gets) return NoCall(is_page);
  if (!is_page) return TextResponse(404, "There is nothing here. See /\n");
  return page->answer(*this, exchange);
}

}  // namespace sessiond::http
