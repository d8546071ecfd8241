// Page tokens: they open for the query they were made for, and for nothing else.
#include "state_machine/page_token.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

using Query = std::vector<absl::string_view>;

const Query kQuery = {"ListSessions", "default", "stage = a", "status desc", "0"};
const std::vector<std::string> kKey = {"active", "1767225600000000",
                                       "exec_20251230_020944_4ad060d9"};

void ExpectRefused(const PageTokens& tokens, const Query& query, absl::string_view token) {
  const auto opened = tokens.Open(query, token);
  ASSERT_FALSE(opened.ok()) << token;
  EXPECT_EQ(ReasonOf(opened.status()), v1::INVALID_PAGE_TOKEN) << opened.status();
}

TEST(PageToken, OpensForTheQueryItWasMadeFor) {
  const PageTokens tokens("a key");
  const std::string token = tokens.Make(kQuery, kKey);
  EXPECT_EQ(
      token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
      std::string::npos);
  const auto opened = tokens.Open(kQuery, token);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, kKey);
  EXPECT_EQ(*PageTokens("a key").Open(kQuery, token), kKey)
      << "another daemon of the same database";
}

TEST(PageToken, CarriesTheLongestKeyAndAnyBytes) {
  const PageTokens tokens("a key");
  const std::vector<std::string> longest = {std::string(256, '\xff'), "", std::string(36, '\0')};
  const std::string token = tokens.Make(kQuery, longest);
  EXPECT_LE(token.size(), kPageTokenBytesMax);
  EXPECT_EQ(*tokens.Open(kQuery, token), longest);
  EXPECT_TRUE(tokens.Open(kQuery, tokens.Make(kQuery, {}))->empty());
}

TEST(PageToken, IsRefusedForAnyOtherQuery) {
  const PageTokens tokens("a key");
  const std::string token = tokens.Make(kQuery, kKey);
  for (std::size_t i = 0; i < kQuery.size(); ++i) {
    Query other = kQuery;
    other[i] = "other";
    ExpectRefused(tokens, other, token);
  }
  Query shorter = kQuery;
  shorter.pop_back();
  ExpectRefused(tokens, shorter, token);
  // The same bytes, cut in other places.
  ExpectRefused(tokens, {"ListSessionsdefault", "", "stage = a", "status desc", "0"}, token);
}

TEST(PageToken, IsRefusedUnderAnotherKey) {
  ExpectRefused(PageTokens("another key"), kQuery, PageTokens("a key").Make(kQuery, kKey));
}

TEST(PageToken, IsRefusedWithAnyBitFlippedAnyByteMissingOrAnotherSpelling) {
  const PageTokens tokens("a key");
  const std::string token = tokens.Make(kQuery, kKey);
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &bytes));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ExpectRefused(tokens, kQuery, absl::WebSafeBase64Escape(flipped));
  }
  for (std::size_t length = 0; length < token.size(); ++length) {
    ExpectRefused(tokens, kQuery, token.substr(0, length));
  }
  ExpectRefused(tokens, kQuery, absl::StrCat(token, "A"));
  ExpectRefused(tokens, kQuery, absl::StrCat(token, "="));
  ExpectRefused(tokens, kQuery, absl::StrCat(token, " "));
  ExpectRefused(tokens, kQuery, absl::StrCat(" ", token));
  ExpectRefused(tokens, kQuery, absl::StrCat(token, token));
}

TEST(PageToken, NothingThatIsThrownAtItOpens) {
  const PageTokens tokens("a key");
  ExpectRefused(tokens, kQuery, std::string(kPageTokenBytesMax, 'A'));
  ExpectRefused(tokens, kQuery, std::string(4 << 20, 'A'));
  ExpectRefused(tokens, kQuery, "not base64!");
  std::mt19937 random(20260301);
  for (int round = 0; round < 10'000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    ExpectRefused(tokens, kQuery, round % 2 == 0 ? bytes : absl::WebSafeBase64Escape(bytes));
  }
}

}  // namespace
}  // namespace sessiond
