// Text in UTF-8, by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace sessiond {

struct Utf8Character {
  char32_t code_point = 0;
  std::size_t bytes = 0;
};

// What the text begins with; of no bytes, if that is no character.
Utf8Character FirstCharacter(absl::string_view text);

bool IsValidUtf8(absl::string_view text);

// Whether it is a control character: C0, DEL or C1 (U+0080 to U+009F, which terminals obey, too).
// Tab and line breaks count too.
bool IsControl(char32_t character);

// Whether valid UTF-8 contains a control character or a noncharacter.
bool HasControls(absl::string_view text);

}  // namespace sessiond
