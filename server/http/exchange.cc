#include "server/http/exchange.h"

#include "absl/strings/str_split.h"

namespace sessiond::http {

std::pair<absl::string_view, absl::string_view> Exchange::target() const {
  return absl::StrSplit(View(head().target()), absl::MaxSplits('?', 1));
}

std::optional<absl::string_view> Exchange::Find(absl::string_view name) const {
  const auto found = head().find({name.data(), name.size()});
  if (found == head().end()) return std::nullopt;
  return View(found->value());
}

Response MakeResponse(unsigned status, std::string content, absl::string_view content_type) {
  Response response;
  response.version(11);
  response.result(status);
  response.set(beast::http::field::content_type, {content_type.data(), content_type.size()});
  response.body() = std::move(content);
  return response;
}

Response TextResponse(unsigned status, std::string text) {
  return MakeResponse(status, std::move(text), "text/plain; charset=utf-8");
}

}  // namespace sessiond::http
