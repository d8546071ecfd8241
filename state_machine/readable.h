// Somebody else's text within a sentence of ours.
#pragma once

#include <cstddef>
#include <limits>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond {

// The text in UTF-8 and on one line, whatever it was: control characters, and bytes that are no
// UTF-8, become `\x1b`. Of a text with more than `bytes_max` bytes its beginning, and `…`.
std::string Readable(absl::string_view text,
                     std::size_t bytes_max = std::numeric_limits<std::size_t>::max());

}  // namespace sessiond
