// Checks of text.
#pragma once

#include "absl/strings/string_view.h"

namespace sessiond::rpc {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsValidUtf8(absl::string_view text);

// Whether valid UTF-8 contains a control character (C0, DEL, C1) or a noncharacter. Tab and line
// breaks count too.
bool HasControls(absl::string_view text);

}  // namespace sessiond::rpc
