// Whether a name can be shown in a log and in a list.
#pragma once

#include "absl/strings/string_view.h"

namespace sessiond::identity {

// Whether UTF-8 text can be read on one line: it has no control characters (C0, DEL, C1), which a
// terminal obeys, and no separators of lines or paragraphs (U+2028, U+2029).
bool IsOneLine(absl::string_view text);

}  // namespace sessiond::identity
