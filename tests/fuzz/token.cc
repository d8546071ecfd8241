// Page tokens and resume tokens. The first byte says which, and what the rest is: a token; the body
// of one that we have sealed, as another version of ours may have; or bits to turn over in a good
// one.
#include <openssl/evp.h>

#include <array>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/watch/interest.h"
#include "server/watch/resume_token.h"
#include "state_machine/page_token.h"
#include "state_machine/refusal.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;
using watch::Interest;
using watch::ResumePoint;
using watch::ResumeTokens;

constexpr int kPartitions = 64;

const PageTokens& Ours() {
  static const PageTokens& tokens = *new PageTokens("the key of our database");
  return tokens;
}
const PageTokens& Others() {
  static const PageTokens& tokens = *new PageTokens("the key of another one");
  return tokens;
}
const std::vector<absl::string_view>& Query() {
  static const auto& query = *new std::vector<absl::string_view>{"ListSessions", "", "state"};
  return query;
}

// Of a watch of all sessions, of one, and of a part of them.
const Interest& InterestOf(int kind) {
  static const auto& interests = *new std::vector<std::shared_ptr<const Interest>>([] {
    v1::WatchSessionsRequest all, one;
    all.set_namespace_("-");
    one.add_session_ids("0192f3c4-9f2e-7abc-8def-0123456789ab");
    return std::vector{*Interest::Of(all, Scope(), kPartitions),
                       *Interest::Of(one, Scope(), kPartitions),
                       *Interest::Of(all, Scope({"shop"}, std::nullopt), kPartitions)};
  }());
  return *interests[static_cast<std::size_t>(kind) % interests.size()];
}

// As PageTokens seals.
std::string Sealed(absl::string_view body) {
  std::string bound;
  for (const absl::string_view part : Query()) {
    for (int i = 0; i < 4; ++i) bound.push_back(static_cast<char>(part.size() >> (8 * i)));
    absl::StrAppend(&bound, part);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int bytes = 0;
  EVP_Digest(bound.data(), bound.size(), digest.data(), &bytes, EVP_sha256(), nullptr);
  const absl::string_view query(reinterpret_cast<const char*>(digest.data()), bytes);
  return absl::WebSafeBase64Escape(absl::StrCat(body, Ours().Sign(absl::StrCat(query, body))));
}

void CheckPageToken(absl::string_view token) {
  const auto opened = Ours().Open(Query(), token);
  if (!opened.ok()) {
    fuzz::ExpectRefusal(opened.status());
    Expect(ReasonOf(opened.status()) == v1::INVALID_PAGE_TOKEN, "It is refused as a page token.");
    return;
  }
  Expect(Ours().Make(Query(), *opened) == token, "We have made what we accept.", token);
  Expect(!Others().Open(Query(), token).ok(), "Another database has not.", token);
  Expect(!Ours().Open({"ListSessions", "s", "tate"}, token).ok(), "Nor is it for another query.",
         token);
}

// True: it was accepted.
bool CheckResumeToken(int kind, absl::string_view token) {
  const ResumeTokens tokens(Ours(), InterestOf(kind), kPartitions);
  const auto opened = tokens.Open(token);
  if (!opened.ok()) {
    fuzz::ExpectRefusal(opened.status());
    Expect(ReasonOf(opened.status()) == v1::INVALID_RESUME_TOKEN, "It is refused as one.");
    return false;
  }
  const auto again = tokens.Open(tokens.Make(*opened));
  Expect(again.ok() && again->positions == opened->positions &&
             again->in_initial_state == opened->in_initial_state,
         "It is the same point after it was made a token again.", token);
  for (int other = 0; other < 3; ++other) {
    Expect(
        other == kind % 3 || !ResumeTokens(Ours(), InterestOf(other), kPartitions).Open(token).ok(),
        "It is for no other watch.", token);
  }
  Expect(!ResumeTokens(Others(), InterestOf(kind), kPartitions).Open(token).ok(),
         "Another database has not made it.", token);
  return true;
}

// The token with the bits of `bytes` turned over, from its beginning on; and as it was, if there
// are none.
std::string Turned(std::string token, absl::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size() && i < token.size(); ++i)
    token[i] = static_cast<char>(token[i] ^ bytes[i]);
  return token;
}

}  // namespace

FUZZ_INPUT(input) {
  const uint8_t mode = input.Byte();
  const int kind = mode / 8;
  switch (mode % 5) {
    case 0:
      CheckPageToken(input.Rest());
      break;
    case 1:
      CheckPageToken(Sealed(input.Rest()));
      break;
    case 2: {
      const std::vector<std::string> values = {"1800000000000000", "u1"};
      const std::string good = Ours().Make(Query(), values);
      const std::string turned = Turned(good, input.Rest());
      CheckPageToken(turned);
      Expect(turned == good || !Ours().Open(Query(), turned).ok(), "A token is all or nothing.",
             turned);
      break;
    }
    case 3:
      CheckResumeToken(kind, input.Rest());
      break;
    default: {
      ResumePoint point{.positions = watch::Positions(kPartitions)};
      point.in_initial_state = kind % 2 == 1;
      for (const int16_t partition : InterestOf(kind).partitions())
        point.positions[partition] = int64_t{input.Byte()} << (partition % 55);
      const std::string good = ResumeTokens(Ours(), InterestOf(kind), kPartitions).Make(point);
      const std::string turned = Turned(good, input.Rest());
      Expect(CheckResumeToken(kind, turned) == (turned == good), "A token is all or nothing.",
             turned);
    }
  }
}

}  // namespace sessiond
