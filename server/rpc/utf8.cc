#include "server/rpc/utf8.h"

#include <cstdint>

namespace sessiond::rpc {
namespace {

// The code point at `i`, which advances past it. REQUIRES: valid UTF-8.
uint32_t Next(absl::string_view text, std::size_t* i) {
  const auto byte = [&](std::size_t at) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[at]));
  };
  const uint32_t first = byte(*i);
  const int more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  uint32_t point = more == 0 ? first : first & (0x3F >> more);
  for (int k = 1; k <= more; ++k) point = (point << 6) | (byte(*i + k) & 0x3F);
  *i += more + 1;
  return point;
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const unsigned first = byte(i);
    const auto continues = [&](int count) {
      for (int k = 1; k <= count; ++k) {
        if ((byte(i + k) & 0xC0) != 0x80) return false;
      }
      return true;
    };
    if (first < 0x80) {
      i += 1;
    } else if (first >= 0xC2 && first < 0xE0 && continues(1)) {
      i += 2;
    } else if (first >= 0xE0 && first < 0xF0 && continues(2) &&
               !(first == 0xE0 && byte(i + 1) < 0xA0) && !(first == 0xED && byte(i + 1) > 0x9F)) {
      i += 3;
    } else if (first >= 0xF0 && first < 0xF5 && continues(3) &&
               !(first == 0xF0 && byte(i + 1) < 0x90) && !(first == 0xF4 && byte(i + 1) > 0x8F)) {
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

bool HasControls(absl::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const uint32_t point = Next(text, &i);
    const bool control = point < 0x20 || (point >= 0x7F && point < 0xA0);
    const bool noncharacter = (point & 0xFFFE) == 0xFFFE || (point >= 0xFDD0 && point <= 0xFDEF);
    if (control || noncharacter) return true;
  }
  return false;
}

}  // namespace sessiond::rpc
