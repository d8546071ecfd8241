// Tokens: the standards' own, good ones, and all the bad ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/identity/jwks_source.h"
#include "server/identity/jwt.h"
#include "server/identity/jwt_verifier.h"
#include "server/identity/openssl.h"
#include "test_ca.h"
#include "test_seed.h"

namespace sessiond::identity {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kNowSeconds = 1800000000;
const absl::Time kNow = absl::FromUnixSeconds(kNowSeconds);
const JwtRules kRules = {.issuer = "https://issuer.example", .audiences = {"sessiond", "other"}};

std::string Encode(absl::string_view bytes) { return absl::WebSafeBase64Escape(bytes); }

std::string EncodeBignum(EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(key, name, &number);
  const OwnedBignum owned(number);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
  BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
  if (name[0] == 'q') bytes.insert(0, 32 - bytes.size(), '\0');
  return Encode(bytes);
}

// An issuer's key: both halves.
struct Signer {
  std::string kid;
  Algorithm algorithm;
  OwnedKey key;

  static Signer Make(const std::string& kid, Algorithm algorithm) {
    switch (algorithm) {
      case Algorithm::kRs256:
        return {kid, algorithm, NewKey(2048)};
      case Algorithm::kEs256:
        return {kid, algorithm, NewKey()};
      case Algorithm::kEdDsa:
        break;
    }
    return {kid, algorithm, OwnedKey(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"))};
  }

  // Members of its public half, as a key set has them; without braces.
  std::string Jwk() const {
    switch (algorithm) {
      case Algorithm::kRs256:
        return absl::StrCat(R"("kty":"RSA","n":")", EncodeBignum(key.get(), "n"), R"(","e":")",
                            EncodeBignum(key.get(), "e"), "\"");
      case Algorithm::kEs256:
        return absl::StrCat(R"("kty":"EC","crv":"P-256","x":")", EncodeBignum(key.get(), "qx"),
                            R"(","y":")", EncodeBignum(key.get(), "qy"), "\"");
      case Algorithm::kEdDsa:
        break;
    }
    std::string raw(32, '\0');
    std::size_t size = raw.size();
    EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size);
    return absl::StrCat(R"("kty":"OKP","crv":"Ed25519","x":")", Encode(raw), "\"");
  }

  std::string RawSignature(absl::string_view text) const {
    const OwnedDigestContext context(EVP_MD_CTX_new());
    const EVP_MD* const digest = algorithm == Algorithm::kEdDsa ? nullptr : EVP_sha256();
    EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key.get());
    std::string signature(1024, '\0');
    std::size_t size = signature.size();
    EXPECT_EQ(
        EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                       reinterpret_cast<const unsigned char*>(text.data()), text.size()),
        1);
    signature.resize(size);
    return signature;
  }

  std::string Signature(absl::string_view text) const {
    std::string signature = RawSignature(text);
    if (algorithm != Algorithm::kEs256) return signature;
    const auto* der = reinterpret_cast<const unsigned char*>(signature.data());
    const OwnedSignature parsed(d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(signature.size())));
    std::string raw(64, '\0');
    auto* const out = reinterpret_cast<unsigned char*>(raw.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(parsed.get()), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(parsed.get()), out + 32, 32);
    return raw;
  }

  std::string Header() const {
    return absl::StrCat(R"({"alg":")", Name(algorithm), R"(","kid":")", kid, R"(","typ":"JWT"})");
  }
  std::string Sign(absl::string_view header, absl::string_view payload) const {
    const std::string text = absl::StrCat(Encode(header), ".", Encode(payload));
    return absl::StrCat(text, ".", Encode(Signature(text)));
  }
  std::string Sign(absl::string_view payload) const { return Sign(Header(), payload); }
};

// A payload: good claims, with some of them replaced or, by an empty text, taken away.
std::string Claims(const std::map<std::string, std::string>& changes = {}) {
  std::map<std::string, std::string> claims = {{"iss", R"("https://issuer.example")"},
                                               {"sub", R"("alice")"},
                                               {"aud", R"("sessiond")"},
                                               {"exp", absl::StrCat(kNowSeconds + 600)},
                                               {"nbf", absl::StrCat(kNowSeconds - 600)},
                                               {"iat", absl::StrCat(kNowSeconds - 600)}};
  for (const auto& [name, value] : changes) {
    if (value.empty()) {
      claims.erase(name);
    } else {
      claims[name] = value;
    }
  }
  return absl::StrCat("{",
                      absl::StrJoin(claims, ",",
                                    [](std::string* out, const auto& claim) {
                                      absl::StrAppend(out, "\"", claim.first, "\":", claim.second);
                                    }),
                      "}");
}

std::vector<VerificationKey> Parse(const std::vector<std::string>& jwks) {
  const absl::StatusOr<Jwks> parsed =
      ParseJwks(absl::StrCat(R"({"keys":[)",
                             absl::StrJoin(jwks, ",",
                                           [](std::string* out, const std::string& jwk) {
                                             absl::StrAppend(out, "{", jwk, "}");
                                           }),
                             "]}"));
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->keys : std::vector<VerificationKey>();
}

class JwtTest : public ::testing::Test {
 protected:
  JwtTest() {
    std::vector<std::string> jwks;
    for (const Signer* const signer : {&rsa_, &ec_, &ed_})
      jwks.push_back(absl::StrCat(R"("kid":")", signer->kid, "\",", signer->Jwk()));
    keys_ = Parse(jwks);
  }

  absl::StatusOr<JwtClaims> Verify(absl::string_view token) const {
    absl::StatusOr<JwtClaims> verified = VerifyJwt(token, keys_, kRules, kNow);
    EXPECT_EQ(ERR_peek_error(), 0UL) << "An error is left for whoever uses OpenSSL next.";
    return verified;
  }
  // Why it is refused; empty: it is not.
  std::string Refusal(absl::string_view token) const {
    const absl::StatusOr<JwtClaims> verified = Verify(token);
    if (verified.ok()) return "";
    EXPECT_TRUE(absl::IsUnauthenticated(verified.status()) || absl::IsNotFound(verified.status()));
    return std::string(verified.status().message());
  }

  struct Signers {
    Signer rsa = Signer::Make("rsa", Algorithm::kRs256);
    Signer ec = Signer::Make("ec", Algorithm::kEs256);
    Signer ed = Signer::Make("ed", Algorithm::kEdDsa);
  };
  // Made once: RSA takes its time.
  static const Signers& TheSigners() {
    static const Signers signers;
    return signers;
  }

  const Signer& rsa_ = TheSigners().rsa;
  const Signer& ec_ = TheSigners().ec;
  const Signer& ed_ = TheSigners().ed;
  std::vector<VerificationKey> keys_;
};

// RFC 7515, appendices A.2 and A.3; RFC 8037, appendices A.1 to A.4.
constexpr char kRfc7515Payload[] =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf"
    "Q";
constexpr char kRfc7515Rsa[] =
    R"("kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQ)"
    R"(p-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47)"
    R"(soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg)"
    R"(665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj)"
    R"(8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB")";
constexpr char kRfc7515RsaSignature[] =
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
    "O8W2Fp5jujG"
    "bds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
    "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
    "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6"
    "LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
constexpr char kRfc7515Ec[] =
    R"("kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
    R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")";
constexpr char kRfc7515EcSignature[] =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
constexpr char kRfc8037Ed[] =
    R"("kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")";

TEST(Jws, TheStandardsSignaturesAreVerified) {
  const struct {
    const char* jwk;
    const char* header;
    std::string payload;
    std::string signature;
  } rows[] = {
      {kRfc7515Rsa, R"({"alg":"RS256"})", kRfc7515Payload, kRfc7515RsaSignature},
      {kRfc7515Ec, R"({"alg":"ES256"})", kRfc7515Payload, kRfc7515EcSignature},
      {kRfc8037Ed, R"({"alg":"EdDSA"})", Encode("Example of Ed25519 signing"),
       "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
  };
  for (const auto& row : rows) {
    const std::vector<VerificationKey> keys = Parse({row.jwk});
    ASSERT_EQ(keys.size(), 1U);
    const std::string text = absl::StrCat(Encode(row.header), ".", row.payload);
    std::string signature;
    ASSERT_TRUE(absl::WebSafeBase64Unescape(row.signature, &signature));
    EXPECT_TRUE(VerifySignature(keys[0], text, signature)) << row.header;
    EXPECT_FALSE(VerifySignature(keys[0], text + "x", signature)) << row.header;
    EXPECT_FALSE(VerifySignature(keys[0], text, "")) << row.header;
    signature[10] ^= 1;
    EXPECT_FALSE(VerifySignature(keys[0], text, signature)) << row.header;
  }
}

TEST(Jws, TheStandardsTokenIsVerifiedAsFarAsItGoes) {
  const std::string token =
      absl::StrCat(Encode(R"({"alg":"ES256"})"), ".", kRfc7515Payload, ".", kRfc7515EcSignature);
  EXPECT_THAT(std::string(VerifyJwt(token, Parse({kRfc7515Ec}),
                                    {.issuer = "joe", .audiences = {"sessiond"}},
                                    absl::FromUnixSeconds(1300819000))
                              .status()
                              .message()),
              HasSubstr("is for others (`aud`)"));
}

TEST(Jws, TheStandardsUnsecuredAndSymmetricTokensAreRefused) {
  // RFC 7519, section 6.1, and section 3.1.
  for (
      const char* const token :
      {"eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmN"
       "vbS9pc19yb290Ijp0cnVlfQ.",
       "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
       "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh"
       "0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}) {
    const absl::Status status =
        VerifyJwt(token, Parse({kRfc7515Rsa, kRfc7515Ec, kRfc8037Ed}),
                  {.issuer = "joe", .audiences = {"sessiond"}}, absl::FromUnixSeconds(1300819000))
            .status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("an algorithm (`alg`) that is not"));
  }
}

TEST_F(JwtTest, GoodOnesAreVerified) {
  for (const Signer* const signer : {&rsa_, &ec_, &ed_}) {
    const absl::StatusOr<JwtClaims> claims = Verify(signer->Sign(
        Claims({{"owner", R"("team-é")"}, {"admin", "true"}, {"nested", R"({"sub":"mallory"})"}})));
    ASSERT_TRUE(claims.ok()) << claims.status();
    EXPECT_EQ(claims->issuer, "https://issuer.example");
    EXPECT_EQ(claims->subject, "alice");
    EXPECT_EQ(claims->expires, kNow + absl::Seconds(600));
    EXPECT_THAT(claims->texts, ::testing::ElementsAre(
                                   std::pair("aud", "sessiond"), std::pair("iss", kRules.issuer),
                                   std::pair("owner", "team-é"), std::pair("sub", "alice")));
  }
}

TEST_F(JwtTest, WhatMayDifferMay) {
  const std::string good[] = {
      ec_.Sign(Claims({{"aud", R"(["x","other"])"}})),
      ec_.Sign(Claims({{"nbf", ""}, {"iat", ""}})),
      ec_.Sign(Claims({{"exp", absl::StrCat(kNowSeconds - 59)}})),
      ec_.Sign(Claims({{"exp", absl::StrCat(kNowSeconds - 59, ".5")}})),
      ec_.Sign(Claims({{"iat", "0e-50"}})),  // A reader with full precision shifts by too much.
      ec_.Sign(Claims({{"nbf", absl::StrCat(kNowSeconds + 60)}})),
      ec_.Sign(Claims({{"iat", absl::StrCat(kNowSeconds + 60)}})),
      ec_.Sign(R"({"kid":"ec","alg":"ES256"})", Claims()),
      ec_.Sign(R"({"alg":"ES256"})", Claims()),
      ec_.Sign(R"( { "alg" : "ES256" , "typ" : "at+jwt" , "x5t" : "abc" } )", Claims()),
      ec_.Sign(R"({"alg":"ES256","typ":"application/at+JWT"})", Claims()),
      // Not looked at, and so harmless.
      ec_.Sign(R"({"alg":"ES256","jku":"https://evil.example/","x5u":"https://evil.example/"})",
               Claims()),
  };
  for (const std::string& token : good) EXPECT_EQ(Refusal(token), "") << token;
}

TEST_F(JwtTest, AnUnknownKeyNameIsToldApart) {
  const absl::Status status =
      Verify(ec_.Sign(R"({"alg":"ES256","kid":"next"})", Claims())).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

// HS256 with a public key as the secret: what verifies whatever the header says is deceived by it.
std::string SignedWithSecret(absl::string_view header, const std::string& secret) {
  const std::string text = absl::StrCat(Encode(header), ".", Encode(Claims()));
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return absl::StrCat(text, ".", Encode(absl::string_view(reinterpret_cast<char*>(mac), size)));
}

TEST_F(JwtTest, ForgedOnesAreRefused) {
  const Signer mallory_rsa = Signer::Make("rsa", Algorithm::kRs256);
  const Signer mallory_ec = Signer::Make("ec", Algorithm::kEs256);
  const Signer mallory_ed = Signer::Make("ed", Algorithm::kEdDsa);
  const std::string good = ec_.Sign(Claims());
  ASSERT_EQ(Refusal(good), "");
  const std::vector<std::string> parts = absl::StrSplit(good, '.');
  const auto with_claims = [&](const std::map<std::string, std::string>& changes) {
    return ec_.Sign(Claims(changes));
  };
  const auto with_header = [&](absl::string_view header) { return ec_.Sign(header, Claims()); };
  const auto seconds = [](int64_t from_now) { return absl::StrCat(kNowSeconds + from_now); };
  const std::string rsa_pem = PublicKeyPem(rsa_.key.get()), ec_pem = PublicKeyPem(ec_.key.get());
  const std::string text = absl::StrCat(parts[0], ".", parts[1]);

  const std::vector<std::pair<const char*, std::string>> forged = {
      // Somebody else's key.
      {"signed", mallory_rsa.Sign(Claims())},
      {"signed", mallory_ec.Sign(Claims())},
      {"signed", mallory_ed.Sign(Claims())},
      {"signed",
       mallory_ec.Sign(absl::StrCat(R"({"alg":"ES256","kid":"ec","jwk":{)", mallory_ec.Jwk(), "}}"),
                       Claims())},
      {"signed", mallory_ec.Sign(R"({"alg":"ES256","kid":"ec","jku":"https://evil.example/jwks"})",
                                 Claims())},
      {"signed",
       mallory_ec.Sign(R"({"alg":"ES256","kid":"ec","x5u":"https://evil.example/x"})", Claims())},
      {"signed", mallory_ec.Sign(R"({"alg":"ES256","kid":"ec","x5c":["MIIB"]})", Claims())},
      // The algorithm.
      {"alg", absl::StrCat(Encode(R"({"alg":"none","kid":"ec"})"), ".", parts[1], ".")},
      {"alg", absl::StrCat(Encode(R"({"alg":"none"})"), ".", parts[1], ".")},
      {"alg", absl::StrCat(Encode(R"({"alg":"None","kid":"ec"})"), ".", parts[1], ".", parts[2])},
      {"alg", with_header(R"({"alg":"nOnE","kid":"ec"})")},
      {"alg", with_header(R"({"alg":"","kid":"ec"})")},
      {"alg", with_header(R"({"kid":"ec"})")},
      {"alg", with_header(R"({"alg":null,"kid":"ec"})")},
      {"alg", with_header(R"({"alg":["ES256"],"kid":"ec"})")},
      {"alg", with_header(R"({"alg":"es256","kid":"ec"})")},
      {"alg", with_header(R"({"alg":"RS256","kid":"ec"})")},
      {"alg", with_header(R"({"alg":"ES256","kid":"rsa"})")},
      {"alg", with_header(R"({"alg":"ES384","kid":"ec"})")},
      {"alg", rsa_.Sign(R"({"alg":"PS256","kid":"rsa"})", Claims())},
      {"alg", rsa_.Sign(R"({"alg":"RS512","kid":"rsa"})", Claims())},
      {"alg", ed_.Sign(R"({"alg":"Ed25519","kid":"ed"})", Claims())},
      {"alg", SignedWithSecret(R"({"alg":"HS256","kid":"rsa"})", rsa_pem)},
      {"alg", SignedWithSecret(R"({"alg":"HS256","kid":"ec"})", ec_pem)},
      {"alg", SignedWithSecret(R"({"alg":"HS256"})", rsa_pem)},
      {"alg", SignedWithSecret(R"({"alg":"HS256","kid":"ed"})", "")},
      {"signed", SignedWithSecret(R"({"alg":"RS256","kid":"rsa"})", rsa_pem)},
      {"signed", SignedWithSecret(R"({"alg":"ES256","kid":"ec"})", ec_pem)},
      // The key's name.
      {"kid", with_header(R"({"alg":"ES256","kid":"../../../../dev/null"})")},
      {"kid", with_header(R"({"alg":"ES256","kid":"/proc/self/environ"})")},
      {"kid", with_header(R"({"alg":"ES256","kid":"ec' OR '1'='1"})")},
      {"kid", with_header(R"({"alg":"ES256","kid":"EC"})")},
      {"kid", with_header(R"({"alg":"ES256","kid":"ec\u0000"})")},
      {"kid", with_header(R"({"alg":"ES256","kid":""})")},
      {"kid", with_header(R"({"alg":"ES256","kid":0})")},
      {"kid", with_header(R"({"alg":"ES256","kid":null})")},
      {"kid", with_header(R"({"alg":"ES256","kid":["ec"]})")},
      {"alg", with_header(R"({"alg":"ES256","kid":"ed"})")},
      // The rest of the header.
      {"crit", with_header(R"({"alg":"ES256","kid":"ec","crit":["exp"]})")},
      {"crit", with_header(R"({"alg":"ES256","kid":"ec","crit":[]})")},
      {"crit", with_header(R"({"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]})")},
      {"typ", with_header(R"({"alg":"ES256","kid":"ec","typ":"JWE"})")},
      {"typ", with_header(R"({"alg":"ES256","kid":"ec","typ":1})")},
      {"typ", with_header(R"({"alg":"ES256","kid":"ec","typ":"logout+jwt"})")},
      {"a name twice", with_header(R"({"alg":"none","alg":"ES256","kid":"ec"})")},
      {"a name twice", with_header(R"({"alg":"ES256","kid":"ec","kid":"ec"})")},
      {"a name twice", with_header(R"({"alg":"ES256","kid":"ec","\u0061lg":"none"})")},
      {"header", with_header("[]")},
      {"header", with_header("\"ES256\"")},
      {"header", with_header("")},
      {"header", with_header(R"({"alg":"ES256","kid":"ec"} {})")},
      {"header", with_header(R"({"alg":"ES256","kid":"ec",})")},
      {"header", with_header(R"({'alg':'ES256'})")},
      {"header", with_header("\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"ec\"}")},
      {"header", with_header(absl::string_view("{\"alg\":\"ES256\",\"kid\":\"ec\"}\0x", 28))},
      // What it says.
      {"iss", with_claims({{"iss", ""}})},
      {"iss", with_claims({{"iss", R"("https://issuer.example/")"}})},
      {"iss", with_claims({{"iss", R"("https://ISSUER.example")"}})},
      {"iss", with_claims({{"iss", R"(["https://issuer.example"])"}})},
      {"iss", with_claims({{"iss", R"("https://issuer.example\u0000")"}})},
      {"iss", with_claims({{"iss", R"("https://issuer.ex\u0430mple")"}})},
      {"aud", with_claims({{"aud", ""}})},
      {"aud", with_claims({{"aud", R"("somebody")"}})},
      {"aud", with_claims({{"aud", R"("sessiond ")"}})},
      {"aud", with_claims({{"aud", R"("session")"}})},
      {"aud", with_claims({{"aud", "[]"}})},
      {"aud", with_claims({{"aud", R"(["somebody"])"}})},
      {"aud", with_claims({{"aud", R"([["sessiond"]])"}})},
      {"aud", with_claims({{"aud", R"(["sessiond",1])"}})},
      {"aud", with_claims({{"aud", R"({"sessiond":"sessiond"})"}})},
      {"aud", with_claims({{"aud", "null"}})},
      {"exp", with_claims({{"exp", ""}})},
      {"exp", with_claims({{"exp", seconds(-60)}})},
      {"exp", with_claims({{"exp", seconds(-86400)}})},
      {"exp", with_claims({{"exp", absl::StrCat("\"", seconds(600), "\"")}})},
      {"exp", with_claims({{"exp", "null"}})},
      {"exp", with_claims({{"exp", "true"}})},
      {"exp", with_claims({{"exp", "-1"}})},
      {"exp", with_claims({{"exp", "0"}})},
      {"exp", with_claims({{"exp", "1e300"}})},
      {"exp", with_claims({{"exp", seconds(600) + "000"}})},  // milliseconds
      {"exp", with_claims({{"exp", "18446744073709551615"}})},
      {"exp", with_claims({{"exp", "9223372036854775808"}})},
      {"exp", with_claims({{"exp", absl::StrCat("[", seconds(600), "]")}})},
      {"exp", with_claims({{"exp", absl::StrCat(R"({"exp":)", seconds(600), "}")}})},
      {"exp", with_claims({{"exp", ""}, {"a", absl::StrCat(R"({"exp":)", seconds(600), "}")}})},
      {"payload", with_claims({{"exp", "1e999"}})},
      {"payload", with_claims({{"exp", "NaN"}})},
      {"payload", with_claims({{"exp", "Infinity"}})},
      {"nbf", with_claims({{"nbf", seconds(61)}})},
      {"nbf", with_claims({{"nbf", "\"0\""}})},
      {"nbf", with_claims({{"nbf", "null"}})},
      {"nbf", with_claims({{"nbf", "-5"}})},
      {"iat", with_claims({{"iat", seconds(61)}})},
      {"iat", with_claims({{"iat", R"("yesterday")"}})},
      {"sub", with_claims({{"sub", ""}})},
      {"sub", with_claims({{"sub", R"("")"}})},
      {"sub", with_claims({{"sub", "1"}})},
      {"sub", with_claims({{"sub", R"({"sub":"alice"})"}})},
      {"sub", with_claims({{"sub", R"("alice\u0000root")"}})},
      {"sub", with_claims({{"sub", R"("alice\nlevel=error")"}})},
      {"sub", with_claims({{"sub", absl::StrCat("\"", std::string(256, 'a'), "\"")}})},
      {"a name twice", ec_.Sign(absl::StrReplaceAll(Claims(), {{"{", R"({"sub":"root",)"}}))},
      {"a name twice", ec_.Sign(absl::StrReplaceAll(Claims(), {{"}", R"(,"\u0073ub":"root"})"}}))},
      {"a name twice", with_claims({{"x", R"({"a":1,"a":2})"}})},
      {"levels", with_claims({{"x", "[[[[[[[[[]]]]]]]]]"}})},
      {"levels", with_claims({{"x", std::string(1000, '[') + std::string(1000, ']')}})},
      {"payload", with_claims({{"x", std::string(1000, '[')}})},
      {"payload", with_claims({{"x", "\"\xff\""}})},
      {"payload", with_claims({{"x", "\"\xc0\x80\""}})},
      {"payload", with_claims({{"x", "\"\xed\xa0\x80\""}})},
      {"payload", with_claims({{"x", R"("\ud800")"}})},
      {"payload", ec_.Sign("")},
      {"payload", ec_.Sign("null")},
      {"payload", ec_.Sign("[" + Claims() + "]")},
      {"payload", ec_.Sign(Claims() + Claims())},
      {"payload", ec_.Sign("not JSON")},
      {"payload", ec_.Sign("/**/" + Claims())},
      // Its form.
      {"too long", with_claims({{"x", absl::StrCat("\"", std::string(5000, 'x'), "\"")}})},
      {"too long", std::string(1 << 20, 'a')},
      {"too long", std::string(1 << 20, '.')},
      {"three parts", ""},
      {"three parts", "."},
      {"three parts", "a"},
      {"three parts", text},
      {"three parts", "Bearer"},
      {"three parts", good + "."},
      {"three parts", good + "." + parts[2]},
      {"three parts", good + ".." + parts[2]},
      {"header", ".."},
      {"header", "." + good.substr(good.find('.') + 1, 0) + "."},
      {"header", absl::StrCat(".", parts[1], ".", parts[2])},
      {"header", absl::StrCat("..", parts[2])},
      {"signed", absl::StrCat(parts[0], "..", parts[2])},
      {"signed", absl::StrCat(text, ".")},
      {"header", " " + good},
      {"base64url", good + " "},
      {"base64url", good + "\n"},
      {"base64url", good + "="},
      {"base64url", good + "=="},
      {"base64url", good + std::string(1, '\0')},
      {"signed", good + "AAAA"},
      {"header", "\xc3\xa9" + good},
      {"header", absl::StrReplaceAll(good, {{"e", "\xd0\xb5"}})},
      {"signed", absl::StrCat(text, ".", Encode(ec_.RawSignature(text)))},  // DER
      {"signed", absl::StrCat(text, ".", Encode(std::string(64, '\0')))},
      {"signed", absl::StrCat(text, ".", Encode(std::string(64, '\xff')))},
      {"signed", absl::StrCat(text, ".", Encode(std::string(63, '\1')))},
      {"signed",
       absl::StrCat(parts[0], ".", Encode(Claims({{"sub", R"("root")"}})), ".", parts[2])},
      {"signed", absl::StrCat(Encode(rsa_.Header()), ".", parts[1], ".", parts[2])},
  };
  for (const auto& [why, token] : forged) {
    const std::string refusal = Refusal(token);
    EXPECT_NE(refusal, "") << "ACCEPTED: " << token;
    EXPECT_THAT(refusal, HasSubstr(why)) << token.substr(0, 500);
  }
  EXPECT_GE(forged.size(), 140U);
  std::cout << forged.size() << " forged tokens\n";
}

// Base64url has bits that a lax decoder drops, and a flipped one might still decode to the same.
TEST_F(JwtTest, NoBitOfATokenCanBeFlipped) {
  int flipped = 0;
  for (const Signer* const signer : {&ec_, &ed_, &rsa_}) {
    const std::string good = signer->Sign(Claims());
    ASSERT_EQ(Refusal(good), "");
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit, ++flipped) {
        std::string token = good;
        token[i] = static_cast<char>(token[i] ^ (1 << bit));
        EXPECT_NE(Refusal(token), "") << "byte " << i << ", bit " << bit << " of " << good;
      }
    }
    for (std::size_t size = 0; size < good.size(); ++size)
      EXPECT_NE(Refusal(good.substr(0, size)), "") << size << " bytes of " << good;
  }
  std::cout << flipped << " flipped bits\n";
}

TEST_F(JwtTest, ASignatureHasOneSpelling) {
  const std::string good = ed_.Sign(Claims());
  // 64 bytes are 86 characters, and the last has four bits to spare.
  for (const char last : std::string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_+/=")) {
    std::string token = good;
    if (token.back() == last) continue;
    token.back() = last;
    EXPECT_NE(Refusal(token), "") << token;
  }
}

TEST_F(JwtTest, TheSentenceHasNothingOfTheToken) {
  const std::string secret = "CANARY";
  const std::string tokens[] = {
      secret,
      secret + "." + secret + "." + secret,
      ec_.Sign(absl::StrCat(R"({"alg":"ES256","kid":")", secret, "\"}"), Claims()),
      ec_.Sign(absl::StrCat(R"({"alg":")", secret, "\"}"), Claims()),
      ec_.Sign(absl::StrCat(R"({"alg":"ES256","typ":")", secret, "\"}"), Claims()),
      ec_.Sign(Claims({{"iss", absl::StrCat("\"", secret, "\"")}})),
      ec_.Sign(Claims({{"aud", absl::StrCat("\"", secret, "\"")}})),
      ec_.Sign(Claims({{"exp", absl::StrCat("\"", secret, "\"")}})),
      ec_.Sign(Claims({{secret, "{"}})),
      ec_.Sign(Claims({{"x", absl::StrCat(R"({")", secret, R"(":1,")", secret, R"(":2})")}})),
  };
  for (const std::string& token : tokens) {
    EXPECT_NE(Refusal(token), "");
    EXPECT_THAT(Refusal(token), ::testing::Not(HasSubstr(secret)));
    EXPECT_THAT(Refusal(token), ::testing::Not(HasSubstr(Encode(secret).substr(0, 7))));
  }
}

TEST_F(JwtTest, ATokenWithoutAKeyNameNeedsOneKeyOfItsAlgorithm) {
  const Signer other = Signer::Make("other", Algorithm::kEs256);
  const std::string token = ec_.Sign(R"({"alg":"ES256"})", Claims());
  EXPECT_EQ(Refusal(token), "");
  keys_.push_back(Parse({absl::StrCat(R"("kid":"other",)", other.Jwk())})[0]);
  EXPECT_THAT(Refusal(token), HasSubstr("does not say which key signed it"));
  keys_.clear();
  EXPECT_THAT(Refusal(token), HasSubstr("alg"));
}

TEST_F(JwtTest, WithoutAudiencesOrAnIssuerNoTokenIsForUs) {
  const std::string token = ec_.Sign(Claims());
  EXPECT_FALSE(VerifyJwt(token, keys_, {.issuer = kRules.issuer}, kNow).ok());
  EXPECT_FALSE(VerifyJwt(token, keys_, {.audiences = kRules.audiences}, kNow).ok());
  EXPECT_FALSE(VerifyJwt(ec_.Sign(Claims({{"iss", R"("")"}})), keys_,
                         {.issuer = "", .audiences = kRules.audiences}, kNow)
                   .ok());
}

// What random damage makes of good tokens and key sets: never a token that is accepted, never a
// crash. With the sanitizers it finds more.
TEST_F(JwtTest, DamagedOnesAreRefused) {
  std::mt19937_64 random(TestSeed());
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  const std::string pieces[] = {"{",
                                "}",
                                "[",
                                "]",
                                "\"",
                                ":",
                                ",",
                                ".",
                                "\\u0000",
                                "null",
                                R"("alg":"none")",
                                "1e9",
                                "\xff",
                                "=",
                                "eyJ",
                                std::string(1, '\0')};
  const auto damage = [&](std::string text) {
    for (std::size_t times = 1 + below(3); times > 0; --times) {
      const std::size_t at = below(text.size() + 1);
      switch (below(5)) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(random());
          break;
        case 1:
          text.insert(at, pieces[below(std::size(pieces))]);
          break;
        case 2:
          text.erase(at, below(20));
          break;
        case 3:
          text.insert(at, text.substr(below(text.size() + 1), below(40)));
          break;
        default:
          text.resize(at);
      }
    }
    return text;
  };
  int accepted = 0;
  const std::string good = ec_.Sign(Claims());
  const std::string header = ec_.Header(), payload = Claims();
  const std::string jwks = absl::StrCat(R"({"keys":[{"kid":"a",)", rsa_.Jwk(), "},{", ec_.Jwk(),
                                        "},{", ed_.Jwk(), "}]}");
  for (int i = 0; i < 20000; ++i) {
    const std::string token = damage(good);
    if (token != good && Refusal(token).empty()) ++accepted;
    if (i % 10 != 0) continue;
    // Signed as they are; what is accepted still says what it has to.
    const std::string damaged_header = damage(header);
    const absl::StatusOr<JwtClaims> claims = Verify(ec_.Sign(damaged_header, damage(payload)));
    if (claims.ok()) {
      EXPECT_EQ(claims->issuer, kRules.issuer);
      EXPECT_FALSE(claims->subject.empty());
      EXPECT_GT(claims->expires + kRules.leeway, kNow);
      EXPECT_THAT(damaged_header, HasSubstr("ES256"));
    }
    const absl::StatusOr<Jwks> parsed = ParseJwks(damage(jwks));
    EXPECT_TRUE(!parsed.ok() || !parsed->keys.empty());
  }
  EXPECT_EQ(accepted, 0);
}

class JwtVerifierTest : public JwtTest {
 protected:
  std::string Set(const std::vector<const Signer*>& signers) const {
    return absl::StrCat(R"({"keys":[)",
                        absl::StrJoin(signers, ",",
                                      [](std::string* out, const Signer* signer) {
                                        absl::StrAppend(out, R"({"kid":")", signer->kid, "\",",
                                                        signer->Jwk(), "}");
                                      }),
                        "]}");
  }
  void Publish(const std::vector<const Signer*>& signers) {
    directory_.Write("jwks.json", Set(signers));
    const int64_t before = source_->attempts();
    source_->Refresh();
    // The one under way may have read what was there before.
    ASSERT_TRUE(source_->AwaitAttempts(before + 1, absl::Seconds(30)));
    source_->Refresh();
    ASSERT_TRUE(source_->AwaitAttempts(before + 2, absl::Seconds(30)));
  }

  // As callers do: what was verified before is not verified again.
  absl::StatusOr<std::shared_ptr<const JwtClaims>> Verify(absl::string_view token, absl::Time now) {
    const JwtVerifier::Digest digest = JwtVerifier::DigestOf(token);
    if (auto known = verifier_.Recall(digest, now); known != nullptr) return known;
    return verifier_.Verify(token, digest, now);
  }

  const TestDirectory directory_;
  const std::unique_ptr<JwksSource> source_ =
      *JwksSource::Start({.location = directory_.Write("jwks.json", Set({&ec_, &ed_}))});
  JwtVerifier verifier_{{.rules = kRules, .source = source_.get(), .tokens_max = 3}};
};

TEST_F(JwtVerifierTest, ATokenIsVerifiedOnceForAsLongAsItIsGood) {
  ASSERT_TRUE(source_->AwaitAttempts(1, absl::Seconds(30)));
  const std::string token = ec_.Sign(Claims());
  const auto first = Verify(token, kNow);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->subject, "alice");
  EXPECT_EQ(*Verify(token, kNow + absl::Seconds(659)), *first);
  EXPECT_THAT(std::string(Verify(token, kNow + absl::Seconds(660)).status().message()),
              HasSubstr("has expired"));
  EXPECT_EQ(verifier_.size(), 0U);
}

TEST_F(JwtVerifierTest, AWithdrawnKeysTokensEndWithIt) {
  ASSERT_TRUE(source_->AwaitAttempts(1, absl::Seconds(30)));
  const std::string ec_token = ec_.Sign(Claims()), ed_token = ed_.Sign(Claims());
  EXPECT_TRUE(Verify(ec_token, kNow).ok());
  EXPECT_TRUE(Verify(ed_token, kNow).ok());
  Publish({&ed_, &rsa_});
  EXPECT_TRUE(absl::IsNotFound(Verify(ec_token, kNow).status()));
  EXPECT_TRUE(Verify(ed_token, kNow).ok());
  EXPECT_TRUE(Verify(rsa_.Sign(Claims()), kNow).ok());
}

TEST_F(JwtVerifierTest, ItRemembersGoodTokensOnlyAndSoManyOnly) {
  ASSERT_TRUE(source_->AwaitAttempts(1, absl::Seconds(30)));
  for (int i = 0; i < 10; ++i) {
    const std::string token = ed_.Sign(Claims({{"sub", absl::StrCat("\"", i, "\"")}}));
    const std::size_t before = verifier_.size();
    EXPECT_FALSE(Verify(token + "x", kNow).ok());
    EXPECT_EQ(verifier_.size(), before);
    const auto claims = Verify(token, kNow);
    ASSERT_TRUE(claims.ok()) << claims.status();
    EXPECT_EQ((*claims)->subject, absl::StrCat(i));
    EXPECT_EQ(verifier_.size(), static_cast<std::size_t>(i % 3 + 1));
  }
}

class JwksTest : public JwtTest {
 protected:
  static std::string Refusal(absl::string_view text) {
    const absl::StatusOr<Jwks> parsed = ParseJwks(text);
    EXPECT_EQ(ERR_peek_error(), 0UL);
    if (parsed.ok()) return "";
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
    return std::string(parsed.status().message());
  }
  static std::string Set(const std::string& members) {
    return absl::StrCat(R"({"keys":[{)", members, "}]}");
  }
};

TEST_F(JwksTest, OneWithoutAUsableKeyIsRefusedAndSaysWhy) {
  const std::string rsa_1024 = (Signer{"weak", Algorithm::kRs256, NewKey(1024)}).Jwk();
  const struct {
    std::string text, why;
  } rows[] = {
      {"", "not a key set"},
      {"[]", "not a key set"},
      {"{}", "not a key set"},
      {R"({"keys":{}})", "not a key set"},
      {R"({"keys":[],"keys":[]})", "a name twice"},
      {R"({"keys":[]})", "There is no key"},
      {R"({"keys":[1,"x",null]})", "Key 2 is not an object"},
      {Set(R"("kty":"oct","k":"c2VjcmV0","d":"x")"), "Key 1 is of a kind that is not supported"},
      {Set(R"("kty":"RSA")"), "Key 1 is no RS256 key"},
      {Set(rsa_1024), "Key 1 is no RS256 key, or a weak one"},
      {Set(R"("kty":"RSA","e":"AQAB","n":")" + Encode(std::string(1025, 'x')) + "\""), "weak"},
      {Set(absl::StrReplaceAll(rsa_.Jwk(), {{"AQAB", "AQ"}})), "weak"},
      {Set(absl::StrReplaceAll(rsa_.Jwk(), {{"AQAB", "Ag"}})), "weak"},
      {Set(absl::StrReplaceAll(rsa_.Jwk(), {{"AQAB", "AQAB="}})), "weak"},
      {Set(rsa_.Jwk() + R"(,"alg":"RS512")"), "for another algorithm than RS256"},
      {Set(rsa_.Jwk() + R"(,"alg":"RSA-OAEP")"), "for another algorithm than RS256"},
      {Set(ec_.Jwk() + R"(,"alg":"EdDSA")"), "for another algorithm than ES256"},
      {Set(ec_.Jwk() + R"(,"alg":1)"), "for another algorithm than ES256"},
      {Set(ec_.Jwk() + R"(,"use":"enc")"), "is not for signatures"},
      {Set(ec_.Jwk() + R"(,"use":1)"), "is not for signatures"},
      {Set(ec_.Jwk() + R"(,"key_ops":["sign"])"), "is not for signatures"},
      {Set(ec_.Jwk() + R"(,"key_ops":"verify")"), "is not for signatures"},
      {Set(ec_.Jwk() + R"(,"kid":1)"), "a kid that is not text"},
      {Set(absl::StrReplaceAll(ec_.Jwk(), {{"P-256", "P-384"}})), "kind that is not supported"},
      {Set(absl::StrReplaceAll(ec_.Jwk(), {{"P-256", "secp256k1"}})), "kind that is not supported"},
      {Set(absl::StrReplaceAll(ed_.Jwk(), {{"Ed25519", "X25519"}})), "kind that is not supported"},
      {Set(absl::StrReplaceAll(ec_.Jwk(), {{R"("y":")", R"("z":")"}})), "is no ES256 key"},
      // A point that is not on the curve.
      {Set(R"("kty":"EC","crv":"P-256","x":")" + Encode(std::string(32, '\1')) + R"(","y":")" +
           Encode(std::string(32, '\2')) + "\""),
       "is no ES256 key"},
      {Set(R"("kty":"EC","crv":"P-256","x":")" + Encode(std::string(32, '\0')) + R"(","y":")" +
           Encode(std::string(32, '\0')) + "\""),
       "is no ES256 key"},
      {Set(R"("kty":"OKP","crv":"Ed25519","x":"AAAA")"), "is no EdDSA key"},
      {Set(ec_.Jwk() + R"(,"d":"AAAA")"), "with its private half"},
      {absl::StrCat(R"({"keys":[{"kid":"a",)", ec_.Jwk(), R"(},{"kid":"a",)", ec_.Jwk(), "}]}"),
       "has the name and the algorithm of another"},
  };
  for (const auto& row : rows) EXPECT_THAT(Refusal(row.text), HasSubstr(row.why)) << row.text;
  std::string many = R"({"keys":[0)";
  for (int i = 0; i < 64; ++i) many += ",0";
  EXPECT_THAT(Refusal(many + "]}"), HasSubstr("more than 64 keys"));
}

TEST_F(JwksTest, KeysForSomethingElseAreSkipped) {
  const absl::StatusOr<Jwks> parsed = ParseJwks(absl::StrCat(
      R"({"extra":1,"keys":[{"kty":"oct","k":"AAAA"},{"kid":"enc","use":"enc",)", rsa_.Jwk(),
      R"(},{"kid":"a","use":"sig","key_ops":["verify"],"alg":"RS256","x5c":["M"],)", rsa_.Jwk(),
      R"(},{"kty":"new"},{"kid":"a","alg":"ES256",)", ec_.Jwk(), "},{", ed_.Jwk(), "}]}"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->keys.size(), 3U);
  EXPECT_EQ(parsed->skipped.size(), 3U);
  EXPECT_EQ(parsed->keys[0].kid, "a");
  EXPECT_EQ(parsed->keys[0].algorithm, Algorithm::kRs256);
  EXPECT_EQ(parsed->keys[1].algorithm, Algorithm::kEs256);
  EXPECT_EQ(parsed->keys[2].algorithm, Algorithm::kEdDsa);
  EXPECT_EQ(parsed->keys[2].kid, "");
}

TEST(Jwt, SaysUnverifiedWhoseKeysItWants) {
  const auto token = [](absl::string_view claims) {
    return absl::StrCat("e30.", absl::WebSafeBase64Escape(claims), ".e30");
  };
  EXPECT_EQ(UnverifiedIssuer(token(R"({"iss":"https://a"})")), "https://a");
  EXPECT_EQ(UnverifiedIssuer(token(R"({"iss":1})")), std::nullopt);
  EXPECT_EQ(UnverifiedIssuer(token(R"({"iss":"a","iss":"b"})")), std::nullopt);
  EXPECT_EQ(UnverifiedIssuer(token("[]")), std::nullopt);
  EXPECT_EQ(UnverifiedIssuer("a.b"), std::nullopt);
  EXPECT_EQ(UnverifiedIssuer(""), std::nullopt);
}

}  // namespace
}  // namespace sessiond::identity
