#include "server/rpc/text_rules.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "state_machine/limits.h"
#include "state_machine/session_id.h"
#include "state_machine/utf8.h"

namespace sessiond::rpc {
namespace {

using Rules = v1::FieldRules;

bool IsIdentifier(absl::string_view text, absl::string_view also) {
  if (text.empty() || text.size() > 63 || !absl::ascii_islower(static_cast<unsigned char>(text[0])))
    return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
           also.find(c) != absl::string_view::npos;
  });
}

// Nothing visible: only spaces of any script, and invisible characters.
bool IsBlank(absl::string_view text) {
  constexpr absl::string_view kInvisible[] = {
      "\u00A0", "\u00AD", "\u1680", "\u180E", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
      "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200A", "\u200B", "\u200C", "\u200D",
      "\u200E", "\u200F", "\u2028", "\u2029", "\u202F", "\u205F", "\u2060", "\u3000", "\uFEFF"};
  while (!text.empty()) {
    if (absl::ascii_isspace(static_cast<unsigned char>(text[0]))) {
      text.remove_prefix(1);
      continue;
    }
    const auto* found =
        std::find_if(std::begin(kInvisible), std::end(kInvisible),
                     [&](absl::string_view c) { return absl::StartsWith(text, c); });
    if (found == std::end(kInvisible)) return false;
    text.remove_prefix(found->size());
  }
  return true;
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

struct TextFacts {
  Rules::Text text;
  int32_t bytes_max;
  // For an empty text: what is wrong with it, if anything.
  absl::string_view when_empty;
  // For any other text that does not match.
  absl::string_view otherwise;
  bool (*fits)(absl::string_view value);
  // What a text matches that is not empty; see PatternOf.
  absl::string_view pattern;
  bool ascii;
};

#define UUID_PATTERN "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
constexpr absl::string_view kNoControls = "[^\\u0000-\\u001F\\u007F-\\u009F]+";

// By Text.
// clang-format off
constexpr TextFacts kTexts[] = {
    {Rules::TEXT_UNSPECIFIED, kLongStringBytesMax, "", "", [](absl::string_view) { return true; },
     "", false},
    {Rules::NOT_BLANK, kLongStringBytesMax, "must not be blank", "must not be blank",
     [](absl::string_view value) { return !IsBlank(value); }, "", false},
    {Rules::NAME, kShortStringBytesMax, "", "must be without control characters",
     [](absl::string_view value) { return !HasControls(value); }, kNoControls, false},
    {Rules::VALUE, kShortStringBytesMax, "must have a value", "must be without control characters",
     [](absl::string_view value) { return !HasControls(value); }, kNoControls, false},
    {Rules::PRINTABLE, 128, "", "must be printable ASCII without spaces", IsPrintable, "[!-~]+",
     true},
    {Rules::IDENTIFIER, 63, "", "must be [a-z][a-z0-9_]{0,62}",
     [](absl::string_view value) { return IsIdentifier(value, "_"); }, "[a-z][a-z0-9_]{0,62}",
     true},
    {Rules::LABEL_KEY, 63, "must be [a-z][a-z0-9_.-]{0,62}", "must be [a-z][a-z0-9_.-]{0,62}",
     [](absl::string_view value) { return IsIdentifier(value, "_.-"); }, "[a-z][a-z0-9_.-]{0,62}",
     true},
    {Rules::NAMESPACE, 63, "", "must be [a-z][a-z0-9-]{0,62}, or empty for default",
     [](absl::string_view value) { return IsIdentifier(value, "-"); }, "[a-z][a-z0-9-]{0,62}",
     true},
    {Rules::NAMESPACES, 63, "", "must be [a-z][a-z0-9-]{0,62}, empty for default, or - for all",
     [](absl::string_view value) { return value == "-" || IsIdentifier(value, "-"); },
     "-|[a-z][a-z0-9-]{0,62}", true},
    {Rules::UUID, 36, "", "must be a lower-case UUID",
     [](absl::string_view value) { return HasFormat(value, v1::Workflow::UUID); }, UUID_PATTERN,
     true},
    {Rules::SESSION_ID, 64, "", "", [](absl::string_view) { return true; },
     UUID_PATTERN "|exec_[0-9]{8}_[0-9]{6}_[a-f0-9]{8}", true},
    {Rules::ANY, kMessageBytesMax, "", "", [](absl::string_view) { return true; }, "", false},
};
// clang-format on
#undef UUID_PATTERN

constexpr bool AreInOrder() {
  for (int i = 0; i < static_cast<int>(std::size(kTexts)); ++i) {
    if (kTexts[i].text != i) return false;
  }
  return std::size(kTexts) == Rules::Text_ARRAYSIZE;
}
static_assert(AreInOrder(), "kTexts is looked up by its index");

}  // namespace

int32_t BytesMaxOf(Rules::Text text) { return kTexts[text].bytes_max; }

std::string PatternOf(Rules::Text text, bool given) {
  const TextFacts& facts = kTexts[text];
  if (facts.pattern.empty()) return "";
  const bool may_be_empty = !given && facts.when_empty.empty();
  return absl::StrCat("^(?:", facts.pattern, ")", may_be_empty ? "?" : "", "$");
}

bool IsAscii(Rules::Text text) { return kTexts[text].ascii; }

std::string WhatIsWrong(absl::string_view value, Rules::Text text, int32_t bytes_max) {
  const TextFacts& facts = kTexts[text];
  if (value.size() > static_cast<std::size_t>(bytes_max))
    return absl::StrCat("has ", value.size(), " bytes, and may have ", bytes_max);
  if (value.empty()) return std::string(facts.when_empty);
  if (!facts.fits(value)) return std::string(facts.otherwise);
  if (text == Rules::ANY || value.find('\0') == absl::string_view::npos) return "";
  return "must be without NUL characters";
}

}  // namespace sessiond::rpc
