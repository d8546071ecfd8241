#include "server/identity/one_line.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace sessiond::identity {

bool IsOneLine(absl::string_view text) {
  if (std::any_of(text.begin(), text.end(), absl::ascii_iscntrl)) return false;
  // U+0080 to U+009F are C2 80 to C2 9F.
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const auto next = static_cast<unsigned char>(text[i + 1]);
    if (text[i] == '\xC2' && next >= 0x80 && next < 0xA0) return false;
  }
  return !absl::StrContains(text, "\u2028") && !absl::StrContains(text, "\u2029");
}

}  // namespace sessiond::identity
