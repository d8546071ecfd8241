// Tokens of an issuer. The first byte says what the rest is: a token; a header and, in the next
// line, claims, which the issuer signs; or bits to turn over in a good token.
#include "server/identity/jwt.h"

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/identity/one_line.h"
#include "server/identity/openssl.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond::identity {
namespace {

using fuzz::Expect;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr char kHeader[] = R"({"alg":"EdDSA","kid":"ed"})";
constexpr char kClaims[] =
    R"({"iss":"https://issuer.example","aud":"sessiond","sub":"ada","exp":1800000100})";

const JwtRules& Rules() {
  static const JwtRules& rules =
      *new JwtRules{.issuer = "https://issuer.example", .audiences = {"sessiond"}};
  return rules;
}

EVP_PKEY* IssuersKey() {
  static EVP_PKEY* const key = EVP_PKEY_new_raw_private_key(
      EVP_PKEY_ED25519, nullptr,
      reinterpret_cast<const unsigned char*>("thirty-two bytes, known to all.."), 32);
  return key;
}

// The issuer's, and two that nobody here signs with.
const std::vector<VerificationKey>& Keys() {
  static const auto& keys = *new std::vector<VerificationKey>([] {
    const auto no_owner = [](EVP_PKEY*) {};
    const auto shared = [&](EVP_PKEY* key) { return std::shared_ptr<EVP_PKEY>(key, no_owner); };
    return std::vector<VerificationKey>{{"ed", Algorithm::kEdDsa, shared(IssuersKey())},
                                        {"ec", Algorithm::kEs256, shared(EVP_EC_gen("P-256"))},
                                        {"rsa", Algorithm::kRs256, shared(EVP_RSA_gen(2048))}};
  }());
  return keys;
}

std::string SignatureOf(absl::string_view text) {
  const OwnedDigestContext context(EVP_MD_CTX_new());
  std::string signature(64, '\0');
  std::size_t size = signature.size();
  EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, IssuersKey());
  EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                 reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return absl::WebSafeBase64Escape(signature);
}

std::string Signed(absl::string_view header, absl::string_view claims) {
  const std::string text =
      absl::StrCat(absl::WebSafeBase64Escape(header), ".", absl::WebSafeBase64Escape(claims));
  return absl::StrCat(text, ".", SignatureOf(text));
}

// True: it was accepted.
bool Check(absl::string_view token) {
  const auto issuer = UnverifiedIssuer(token);
  const auto claims = VerifyJwt(token, Keys(), Rules(), kNow);
  if (!claims.ok()) {
    fuzz::ExpectSentence(claims.status());
    return false;
  }
  Expect(issuer == Rules().issuer && claims->issuer == Rules().issuer, "It is the issuer's.",
         token);
  Expect(absl::EndsWith(token, absl::StrCat(".", SignatureOf(token.substr(0, token.rfind('.'))))),
         "The issuer has signed what is accepted.", token);
  Expect(claims->expires + Rules().leeway > kNow, "It has not expired.", token);
  Expect(!claims->subject.empty() && IsOneLine(claims->subject), "Its subject is a name.", token);
  Expect(claims->texts.contains("sub") && claims->texts.at("sub") == claims->subject,
         "It has one subject.", token);
  return true;
}

}  // namespace

FUZZ_INPUT(input) {
  switch (input.Byte() % 3) {
    case 0:
      Check(input.Rest());
      break;
    case 1: {
      const absl::string_view header = input.Line();
      Check(Signed(header.empty() ? kHeader : header, input.Rest()));
      break;
    }
    default: {
      const std::string good = Signed(kHeader, kClaims);
      std::string turned = good;
      for (std::size_t i = 0; i < input.Rest().size() && i < turned.size(); ++i)
        turned[i] = static_cast<char>(turned[i] ^ input.Rest()[i]);
      Expect(Check(turned) == (turned == good), "A token is all or nothing.", turned);
    }
  }
}

}  // namespace sessiond::identity
