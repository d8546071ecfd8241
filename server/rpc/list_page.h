// What lists have in common: the page that a request asks for, and the reply made from it.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "db/base/page.h"
#include "google/protobuf/repeated_field.h"
#include "state_machine/limits.h"

namespace sessiond::rpc {

inline std::string NamespaceOf(const std::string& asked) {
  return asked.empty() ? "default" : asked;
}

// A flag of the request, and a number, as parts of a query.
inline std::string Part(bool flag) { return flag ? "1" : "0"; }
inline std::string Part(int number) { return std::to_string(number); }

// `query`: all that a token is bound to: the method, then the request's fields except page_size and
// page_token.
template <class Request>
db::PageRequest PageOf(const Request& request, std::vector<std::string> query) {
  const int asked = request.page_size();
  return {.size = asked == 0 ? kPageSizeDefault : std::min(asked, kPageSizeMax),
          .token = request.page_token(),
          .query = std::move(query)};
}

// The reply whose `rows` are the page's.
template <class Reply, class Message>
absl::StatusOr<Reply> ReplyOf(absl::StatusOr<db::Page<Message>> page,
                              google::protobuf::RepeatedPtrField<Message>* (Reply::*rows)()) {
  if (!page.ok()) return page.status();
  Reply reply;
  (reply.*rows)()->Swap(&page->rows);
  reply.set_next_page_token(std::move(page->next_token));
  return reply;
}

}  // namespace sessiond::rpc
