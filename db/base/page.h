// Lists come in pages. The next one begins behind the last row of this one, which its token names.
#pragma once

#include <string>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "state_machine/limits.h"

namespace sessiond::db {

// What the order of a list compares, of one row, as page tokens carry it: of times the microseconds
// since 1970.
using KeyValues = std::vector<std::string>;

struct PageRequest {
  // The most rows.
  int size = kPageSizeDefault;
  // Of the page before; empty for the first.
  std::string token;
  // All that a token is bound to: the method, then the fields of the request but page_size and
  // page_token.
  std::vector<std::string> query;
};

template <class Message>
struct Page {
  google::protobuf::RepeatedPtrField<Message> rows;
  // Of the last row; empty if no more follow.
  KeyValues end;
  // The same, for the caller to come back with.
  std::string next_token;
};

}  // namespace sessiond::db
