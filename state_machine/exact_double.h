// Numbers of JSON are decimal and as long as one likes; those of google.protobuf.Value are doubles.
// 9007199254740993, 1e-400 and -0 would become other numbers.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"

namespace sessiond {

// The double that equals a number; nothing if there is none, as of -0. Both agree in every digit
// that is written; of 17 with a fraction, as many as tell doubles apart, the last may be the next
// one. REQUIRES: a number in the format of JSON, or NaN or Infinity, which none equals.
std::optional<double> ExactDouble(absl::string_view number);

}  // namespace sessiond
