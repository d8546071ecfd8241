// The patterns of the contract's texts say to programs what the daemon checks.
#include "server/rpc/text_rules.h"

#include <gtest/gtest.h>

#include <codecvt>
#include <locale>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "state_machine/session_id.h"

namespace sessiond::rpc {
namespace {

using Rules = v1::FieldRules;

std::wstring Wide(const std::string& text) {
  return std::wstring_convert<std::codecvt_utf8<wchar_t>>().from_bytes(text);
}

const std::string kUuid = "0192f3c4-9f2e-7abc-8def-0123456789ab";
const std::vector<std::string> kTexts = {"",
                                         " ",
                                         "a",
                                         "A",
                                         "z9",
                                         "9z",
                                         "-",
                                         "--",
                                         "a-b",
                                         "a_b",
                                         "a.b",
                                         "a b",
                                         "a\nb",
                                         "a\n",
                                         "~!",
                                         "_",
                                         std::string(63, 'a'),
                                         std::string(64, 'a'),
                                         "a\x1F",
                                         "a\x7F",
                                         "a\u0080",
                                         "a\u009F",
                                         "\u00A0",
                                         "ä",
                                         "\U0001F600",
                                         kUuid,
                                         kUuid + "0",
                                         kUuid + "\n",
                                         "0192F3C4-9F2E-7ABC-8DEF-0123456789AB",
                                         kUuid + "|" + kUuid,
                                         "exec_20260102_030405_0a1b2c3d",
                                         "exec_20260102_030405_0a1b2c3d4",
                                         "exec_20260102_030405_0A1B2C3D"};

bool Fits(const std::string& text, Rules::Text kind, bool given) {
  if (given && text.empty()) return false;
  if (kind == Rules::SESSION_ID) return text.empty() || IsSessionId(text);
  return WhatIsWrong(text, kind, BytesMaxOf(kind)).empty();
}

class Pattern : public testing::TestWithParam<int> {};

TEST_P(Pattern, IsMatchedByWhatFitsAndNothingElse) {
  const auto kind = static_cast<Rules::Text>(GetParam());
  for (const bool given : {false, true}) {
    const std::string pattern = PatternOf(kind, given);
    if (pattern.empty()) continue;
    const std::wregex regex(Wide(pattern), std::regex::ECMAScript);
    int fitting = 0, others = 0;
    for (const std::string& text : kTexts) {
      const bool fits = Fits(text, kind, given);
      EXPECT_EQ(std::regex_match(Wide(text), regex), fits)
          << pattern << " and \"" << absl::CHexEscape(text) << "\"";
      ++(fits ? fitting : others);
    }
    EXPECT_GT(fitting, 0);
    EXPECT_GT(others, 0);
  }
}

TEST_P(Pattern, OfWhatIsNotAsciiIsNotCalledAscii) {
  const auto kind = static_cast<Rules::Text>(GetParam());
  EXPECT_EQ(IsAscii(kind), !Fits("aä", kind, false)) << Rules::Text_Name(kind);
}

INSTANTIATE_TEST_SUITE_P(Texts, Pattern, testing::Range(0, static_cast<int>(Rules::Text_ARRAYSIZE)),
                         [](const auto& text) { return Rules::Text_Name(text.param); });

}  // namespace
}  // namespace sessiond::rpc
