#include "state_machine/utf8.h"

#include <boost/locale/utf.hpp>

namespace sessiond {

Utf8Character FirstCharacter(absl::string_view text) {
  namespace utf = boost::locale::utf;
  const char* at = text.data();
  const utf::code_point decoded = utf::utf_traits<char>::decode(at, text.data() + text.size());
  if (decoded == utf::illegal || decoded == utf::incomplete) return {};
  return {.code_point = decoded, .bytes = static_cast<std::size_t>(at - text.data())};
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = FirstCharacter(text).bytes;
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

bool IsControl(char32_t character) {
  return character < 0x20 || (character >= 0x7F && character < 0xA0);
}

bool HasControls(absl::string_view text) {
  while (!text.empty()) {
    const auto [point, bytes] = FirstCharacter(text);
    const bool noncharacter = (point & 0xFFFE) == 0xFFFE || (point >= 0xFDD0 && point <= 0xFDEF);
    if (IsControl(point) || noncharacter) return true;
    text.remove_prefix(bytes);
  }
  return false;
}

}  // namespace sessiond
