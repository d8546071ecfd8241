// What others wrote, made fit for a terminal: nothing in it moves the cursor, turns the direction
// of reading, or hides.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace sessiond::ctl {

// On one line. Control characters, what cannot be seen (zero width, bidi controls, byte order
// marks), what this machine does not know, and bytes that are no UTF-8 become escapes: \n, \x1b,
// \u202e, \U000e0041.
std::string Printable(absl::string_view text);
// The same of each of its lines.
std::string PrintableLines(absl::string_view text);

// JSON that says the same, with such characters as escapes of JSON's own.
std::string PrintableJson(absl::string_view json);

// A word as a shell takes it: as it is where that is safe, else in quotes.
std::string ShellWord(absl::string_view text);

// How many columns of a terminal it takes. REQUIRES: printable.
std::size_t WidthOf(absl::string_view text);
// Its beginning, and … where something is left out: `width` columns at most. REQUIRES: printable,
// and wider than that.
std::string Cut(absl::string_view text, std::size_t width);

}  // namespace sessiond::ctl
