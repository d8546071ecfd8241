// How often calls ended in some way, as the page of metrics has it. It has a line for every way
// from the beginning, with 0.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/ops/metrics.h"

namespace sessiond {

// Of a `method` like "GetSession", and with a `code` like "NotFound".
inline int HandledCalls(const Metrics& metrics, absl::string_view method, absl::string_view code) {
  const std::string text = metrics.Text();
  const std::size_t at = text.find(absl::StrCat("grpc_server_handled_total{grpc_code=\"", code,
                                                "\",grpc_method=\"", method, "\""));
  return at == std::string::npos ? 0 : std::stoi(text.substr(text.find("} ", at) + 2));
}

}  // namespace sessiond
