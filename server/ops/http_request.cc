#include "server/ops/http_request.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace sessiond {
namespace {

absl::string_view PhraseOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

}  // namespace

bool HttpRequest::Has(absl::string_view name) const {
  for (const absl::string_view pair : absl::StrSplit(query, '&')) {
    if (pair.substr(0, pair.find('=')) == name) return true;
  }
  return false;
}

bool IsWhole(absl::string_view head) {
  return absl::StrContains(head, "\r\n\r\n") || absl::StrContains(head, "\n\n");
}

HttpRequest ParseHttpRequest(absl::string_view head) {
  const absl::string_view line = head.substr(0, head.find_first_of("\r\n"));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.")) return {.refusal = 400};
  absl::string_view target = words[1];
  // As a proxy is asked.
  if (absl::ConsumePrefix(&target, "http://"))
    target = target.substr(std::min(target.find('/'), target.size()));
  if (!absl::StartsWith(target, "/")) return {.refusal = 400};
  if (words[0] != "GET" && words[0] != "HEAD") return {.refusal = 405};
  const std::size_t mark = target.find('?');
  HttpRequest request{.head_only = words[0] == "HEAD", .path = std::string(target.substr(0, mark))};
  if (mark != absl::string_view::npos) request.query = std::string(target.substr(mark + 1));
  return request;
}

std::string HttpAnswer(int status, absl::string_view type, absl::string_view body, bool head_only) {
  return absl::StrCat("HTTP/1.1 ", status, " ", PhraseOf(status), "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(),
                      status == 405 ? "\r\nAllow: GET, HEAD" : "", "\r\nConnection: close\r\n\r\n",
                      head_only ? "" : body);
}

}  // namespace sessiond
