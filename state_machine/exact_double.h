// Numbers of JSON are decimal and as long as one likes; those of google.protobuf.Value are doubles.
// 9007199254740993, 1e-400 and -0 would become other numbers.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace sessiond {

// The double that equals a number; nothing if there is none. A whole number must agree in every
// digit; any other in as many digits as were written, or in the 17 that tell doubles apart.
// REQUIRES: a number in the format of JSON, or NaN or Infinity, which none equals.
std::optional<double> ExactDouble(absl::string_view number);

}  // namespace sessiond
