// The head of an HTTP request, as far as the admin server needs it. No I/O.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace sessiond {

struct HttpRequest {
  // 0: sound. Else what is to be answered, 400 or 405.
  int refusal = 0;
  bool head_only = false;
  std::string path;
  // Behind the question mark; empty for none.
  std::string query;

  // Whether a name stands in the query, with or without a value.
  bool Has(absl::string_view name) const;
};

// Whether all of a request's head is there: up to an empty line.
bool IsWhole(absl::string_view head);

// Understands GET and HEAD of HTTP/1. What stands in the header's fields does not matter here, and
// a body is not read. REQUIRES: IsWhole(head).
HttpRequest ParseHttpRequest(absl::string_view head);

// A whole answer, after which the connection is closed.
std::string HttpAnswer(int status, absl::string_view type, absl::string_view body, bool head_only);

}  // namespace sessiond
