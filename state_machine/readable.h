// Somebody else's text within a sentence of ours.
#pragma once

#include <cstddef>
#include <limits>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond {

// The length of the well-formed UTF-8 sequence (RFC 3629) that `text` begins with; 0 if it does not
// begin with one.
std::size_t Utf8SequenceLength(absl::string_view text);

// Whether a sequence of UTF-8 is a control character: C0, DEL or C1 (U+0080 to U+009F, which
// terminals obey, too).
bool IsControlCharacter(absl::string_view sequence);

// The text in UTF-8 and on one line, whatever it was: control characters, and bytes that are no
// UTF-8, become `\x1b`. Of a text with more than `bytes_max` bytes its beginning, and `…`.
std::string Readable(absl::string_view text,
                     std::size_t bytes_max = std::numeric_limits<std::size_t>::max());

}  // namespace sessiond
