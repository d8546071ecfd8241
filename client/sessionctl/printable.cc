#include "client/sessionctl/printable.h"

#include <cwchar>
#include <cwctype>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cpp/utf8.h"

namespace sessiond::ctl {
namespace {

struct Range {
  char32_t first, last;
};

// Characters that are invisible, or change how the text around them is drawn: of Unicode, the
// controls (Cc), formats (Cf), line and paragraph separators, and invisible letters and marks.
// clang-format off
constexpr Range kDeceptive[] = {
    {0x0000, 0x001F},   {0x007F, 0x009F},   {0x00AD, 0x00AD},   {0x034F, 0x034F},   {0x0600, 0x0605},
    {0x061C, 0x061C},   {0x06DD, 0x06DD},   {0x070F, 0x070F},   {0x0890, 0x0891},   {0x08E2, 0x08E2},
    {0x115F, 0x1160},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},
    {0x2060, 0x206F},   {0x3164, 0x3164},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},
    {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},
    {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};
// clang-format on

bool Deceives(char32_t c) {
  for (const Range& range : kDeceptive) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

// Chooses the style of a symbol, ❤ as ❤️. After a letter it would be hidden.
bool IsEmojiStyle(char32_t c, char32_t before) {
  return (c == 0xFE0E || c == 0xFE0F) && before != kNoCharacter && before >= 0x80 &&
         std::iswalnum(static_cast<wint_t>(before)) == 0;
}

std::string Escape(char32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const unsigned number = c;
  if (c < 0x80) return absl::StrFormat("\\x%02x", number);
  if (c < 0x10000) return absl::StrFormat("\\u%04x", number);
  return absl::StrFormat("\\U%08x", number);
}

std::string EscapeOfJson(char32_t c) {
  const unsigned number = c;
  if (c < 0x10000) return absl::StrFormat("\\u%04x", number);
  return absl::StrFormat("\\u%04x\\u%04x", 0xD800 + ((number - 0x10000) >> 10),
                         0xDC00 + ((number - 0x10000) & 0x3FF));
}

// `text` with each character that `deceives` replaced by `escape`, and each byte that belongs to no
// character by `escape_byte`.
std::string Escaped(absl::string_view text,
                    const std::function<bool(char32_t c, char32_t before)>& deceives,
                    const std::function<std::string(char32_t)>& escape,
                    const std::function<std::string(unsigned char)>& escape_byte) {
  std::string out;
  char32_t before = kNoCharacter;
  while (!text.empty()) {
    const absl::string_view here = text;
    const char32_t c = TakeCharacter(text);
    if (c == kNoCharacter) {
      absl::StrAppend(&out, escape_byte(static_cast<unsigned char>(here[0])));
    } else if (deceives(c, before)) {
      absl::StrAppend(&out, escape(c));
    } else {
      absl::StrAppend(&out, here.substr(0, here.size() - text.size()));
    }
    before = c;
  }
  return out;
}

int WidthOf(char32_t c) { return wcwidth(static_cast<wchar_t>(c)); }

}  // namespace

std::string Printable(absl::string_view text) {
  return Escaped(
      text,
      [](char32_t c, char32_t before) {
        return (Deceives(c) && !IsEmojiStyle(c, before)) || WidthOf(c) < 0;
      },
      Escape, [](unsigned char byte) { return absl::StrFormat("\\x%02x", byte); });
}

std::string PrintableLines(absl::string_view text) {
  return absl::StrJoin(
      absl::StrSplit(text, '\n'), "\n",
      [](std::string* out, absl::string_view line) { out->append(Printable(line)); });
}

std::string PrintableJson(absl::string_view json) {
  // Outside strings JSON is only ASCII, and its blanks are not escaped.
  return Escaped(
      json,
      [](char32_t c, char32_t before) {
        return c >= 0x7F && Deceives(c) && !IsEmojiStyle(c, before);
      },
      EscapeOfJson, [](unsigned char) { return std::string("\\ufffd"); });
}

std::string ShellWord(absl::string_view text) {
  bool plain = !text.empty();
  for (const char c : text) {
    plain = plain && (absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                      absl::StrContains("_-./:=@%+,", c) || (c & 0x80) != 0);
  }
  if (plain && Printable(text) == text) return std::string(text);
  std::string quoted = "'";
  if (Printable(text) == text) {
    for (const char c : text) absl::StrAppend(&quoted, c == '\'' ? "'\\''" : std::string(1, c));
    return quoted + "'";
  }
  // Bytes that cannot be shown raw, in the escapes of bash, zsh and ksh.
  quoted = "$'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, c));
    } else if (absl::ascii_isprint(static_cast<unsigned char>(c))) {
      quoted.push_back(c);
    } else {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(c));
    }
  }
  return quoted + "'";
}

std::size_t WidthOf(absl::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const int columns = WidthOf(TakeCharacter(text));
    width += columns > 0 ? static_cast<std::size_t>(columns) : 0;
  }
  return width;
}

std::string Cut(absl::string_view text, std::size_t width) {
  std::size_t end = 0, seen = 0;
  for (absl::string_view rest = text; !rest.empty(); end = text.size() - rest.size()) {
    const int columns = WidthOf(TakeCharacter(rest));
    seen += columns > 0 ? static_cast<std::size_t>(columns) : 0;
    if (seen > width - 1) break;
  }
  return absl::StrCat(text.substr(0, end), "…");
}

}  // namespace sessiond::ctl
