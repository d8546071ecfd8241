#include "state_machine/readable.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "state_machine/utf8.h"

namespace sessiond {

std::string Readable(absl::string_view text, std::size_t bytes_max) {
  std::string readable;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Character character = FirstCharacter(text.substr(i));
    const absl::string_view next = text.substr(i, std::max<std::size_t>(character.bytes, 1));
    if (i + next.size() > bytes_max) return readable + "…";
    if (character.bytes > 0 && !IsControl(character.code_point)) {
      absl::StrAppend(&readable, next);
    } else {
      for (const char c : next) absl::StrAppend(&readable, "\\x", absl::BytesToHexString({&c, 1}));
    }
    i += next.size();
  }
  return readable;
}

}  // namespace sessiond
