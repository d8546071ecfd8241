// Lists come in pages. The next one begins after the last row of this one, which its token names.
#pragma once

#include <string>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "state_machine/limits.h"

namespace sessiond::db {

// One row's values that the order of a list compares, as in page tokens: for times the microseconds
// since 1970.
using KeyValues = std::vector<std::string>;

struct PageRequest {
  // The most rows.
  int size = kPageSizeDefault;
  // From the page before; empty for the first.
  std::string token;
  // All that a token is bound to: the method, then the fields of the request except page_size and
  // page_token.
  std::vector<std::string> query;
};

template <class Message>
struct Page {
  google::protobuf::RepeatedPtrField<Message> rows;
  // The last row's; empty if no more follow.
  KeyValues end;
  // The same, for the caller's next request.
  std::string next_token;
};

}  // namespace sessiond::db
