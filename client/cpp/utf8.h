// Text in UTF-8, character by character.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace sessiond {

inline constexpr char32_t kNoCharacter = 0xFFFFFFFF;

// Removes and returns the first character of `text`; kNoCharacter for a byte that starts none (RFC
// 3629: nothing overlong, no surrogates, nothing above U+10FFFF). REQUIRES: not empty.
inline char32_t TakeCharacter(absl::string_view& text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  char32_t character = lead;
  bool valid = length == 1 || (lead >= 0xC2 && lead <= 0xF4 && length <= text.size());
  if (valid && length > 1) {
    character = lead & (0xFF >> (length + 1));
    for (std::size_t i = 1; valid && i < length; ++i) {
      valid = (byte(i) & 0xC0) == 0x80;
      character = character << 6 | (byte(i) & 0x3F);
    }
    constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = character >= 0xD800 && character <= 0xDFFF;
    valid = valid && character >= kSmallest[length] && !surrogate && character <= 0x10FFFF;
  }
  text.remove_prefix(valid ? length : 1);
  return valid ? character : kNoCharacter;
}

}  // namespace sessiond
