// Makes foreign text safe for a terminal: nothing in it moves the cursor, changes the direction of
// reading, or hides.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::ctl {

// On one line. Control characters, invisible ones (zero width, bidi controls, byte order marks),
// those unknown to this machine, and bytes that are not UTF-8 become escapes: \n, \x1b, \u202e,
// \U000e0041.
std::string Printable(absl::string_view text);
// The same for each of its lines.
std::string PrintableLines(absl::string_view text);

// Equivalent JSON, with such characters as JSON escapes.
std::string PrintableJson(absl::string_view json);

// A word for a shell: unchanged if that is safe, else in quotes.
std::string ShellWord(absl::string_view text);

// Its width in columns of a terminal. REQUIRES: printable.
std::size_t WidthOf(absl::string_view text);
// Its beginning, with … for the omitted part: at most `width` columns. REQUIRES: printable, and
// wider than that.
std::string Cut(absl::string_view text, std::size_t width);

}  // namespace sessiond::ctl
