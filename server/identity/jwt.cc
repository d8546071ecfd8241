#include "server/identity/jwt.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/identity/base64url.h"
#include "server/identity/one_line.h"
#include "server/identity/openssl.h"
#include "server/identity/strict_json.h"

namespace sessiond::identity {
namespace {

constexpr std::size_t kSubjectBytesMax = 255;
// The end of the year 9999; what is later is no time, but milliseconds taken for seconds.
constexpr double kSecondsMax = 253402300799;
constexpr std::size_t kP256Bytes = 32;

absl::Status Refused(absl::string_view why) {
  return absl::UnauthenticatedError(absl::StrCat("The token ", why, "."));
}

const unsigned char* Bytes(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// As OpenSSL has it: a DER sequence. Nothing: it is not r and s.
std::optional<std::string> ToDer(absl::string_view r_and_s) {
  if (r_and_s.size() != 2 * kP256Bytes) return std::nullopt;
  const OwnedSignature signature(ECDSA_SIG_new());
  OwnedBignum r(BN_bin2bn(Bytes(r_and_s), kP256Bytes, nullptr));
  OwnedBignum s(BN_bin2bn(Bytes(r_and_s) + kP256Bytes, kP256Bytes, nullptr));
  ECDSA_SIG_set0(signature.get(), r.release(), s.release());
  std::string der(static_cast<std::size_t>(i2d_ECDSA_SIG(signature.get(), nullptr)), '\0');
  auto* out = reinterpret_cast<unsigned char*>(der.data());
  i2d_ECDSA_SIG(signature.get(), &out);
  return der;
}

absl::StatusOr<rapidjson::Document> DecodeObject(absl::string_view part, absl::string_view what) {
  const std::optional<std::string> text = DecodeBase64Url(part);
  if (!text.has_value()) return Refused(absl::StrCat("has a ", what, " that is not base64url"));
  absl::StatusOr<rapidjson::Document> object = ParseStrictObject(*text);
  if (!object.ok())
    return Refused(absl::StrCat("has a bad ", what, " (", object.status().message(), ")"));
  return object;
}

// Access tokens are JWTs, too (RFC 9068). Other types are for other purposes.
bool IsTypeOfAToken(absl::string_view type) {
  const std::string lower = absl::AsciiStrToLower(type);
  const absl::string_view name = absl::StripPrefix(lower, "application/");
  return name == "jwt" || name == "at+jwt";
}

// The key that the header selects, if the algorithm that it names is the key's.
absl::StatusOr<const VerificationKey*> Select(const rapidjson::Document& header,
                                              absl::Span<const VerificationKey> keys) {
  if (Find(header, "crit") != nullptr) return Refused("demands an extension (`crit`)");
  if (Find(header, "typ") != nullptr && !IsTypeOfAToken(FindString(header, "typ").value_or("")))
    return Refused("is of another type (`typ`)");
  const std::optional<absl::string_view> algorithm = FindString(header, "alg");
  if (!algorithm.has_value()) return Refused("names no algorithm (`alg`)");
  const rapidjson::Value* const kid = Find(header, "kid");
  if (kid != nullptr && !kid->IsString()) return Refused("has a key name (`kid`) that is no text");
  const VerificationKey* selected = nullptr;
  bool any_of_that_name = false;
  for (const VerificationKey& key : keys) {
    if (kid != nullptr && key.kid != Text(*kid)) continue;
    any_of_that_name = true;
    if (Name(key.algorithm) != *algorithm) continue;
    if (selected != nullptr) return Refused("does not say which key signed it (`kid`)");
    selected = &key;
  }
  if (kid != nullptr && !any_of_that_name)
    return absl::NotFoundError("The token names a key (`kid`) that the issuer's keys do not have.");
  if (selected == nullptr) return Refused("names an algorithm (`alg`) that is not the key's");
  return selected;
}

bool IsFor(const rapidjson::Value* audience, const std::vector<std::string>& audiences) {
  if (audience == nullptr) return false;
  const auto is_ours = [&](const rapidjson::Value& one) {
    return std::find(audiences.begin(), audiences.end(), Text(one)) != audiences.end();
  };
  if (audience->IsString()) return is_ours(*audience);
  if (!audience->IsArray()) return false;
  const auto all = audience->GetArray();
  return std::all_of(all.begin(), all.end(), [](const auto& one) { return one.IsString(); }) &&
         std::any_of(all.begin(), all.end(), is_ours);
}

// Seconds since 1970, perhaps with a fraction. Nothing: it is no such time.
std::optional<absl::Time> ToTime(const rapidjson::Value& value) {
  if (!value.IsNumber()) return std::nullopt;
  const double seconds = value.GetDouble();
  if (!(seconds >= 0 && seconds <= kSecondsMax)) return std::nullopt;
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

absl::StatusOr<absl::Time> CheckTimes(const rapidjson::Document& claims, absl::Duration leeway,
                                      absl::Time now) {
  const rapidjson::Value* const exp = Find(claims, "exp");
  const std::optional<absl::Time> expires = exp == nullptr ? std::nullopt : ToTime(*exp);
  if (!expires.has_value()) return Refused("has no time at which it expires (`exp`)");
  if (now >= *expires + leeway) return Refused("has expired (`exp`)");
  for (const char* const name : {"nbf", "iat"}) {
    const rapidjson::Value* const value = Find(claims, name);
    if (value == nullptr) continue;
    const std::optional<absl::Time> time = ToTime(*value);
    if (!time.has_value()) return Refused(absl::StrCat("has a bad time (`", name, "`)"));
    if (*time > now + leeway) return Refused(absl::StrCat("is not valid yet (`", name, "`)"));
  }
  return *expires;
}

absl::StatusOr<JwtClaims> CheckClaims(const rapidjson::Document& claims, const JwtRules& rules,
                                      absl::Time now) {
  if (rules.issuer.empty() || FindString(claims, "iss") != rules.issuer)
    return Refused("has another issuer (`iss`)");
  if (!IsFor(Find(claims, "aud"), rules.audiences)) return Refused("is for others (`aud`)");
  const absl::StatusOr<absl::Time> expires = CheckTimes(claims, rules.leeway, now);
  if (!expires.ok()) return expires.status();
  const absl::string_view subject = FindString(claims, "sub").value_or("");
  if (subject.empty() || subject.size() > kSubjectBytesMax || !IsOneLine(subject)) {
    return Refused("has no subject (`sub`), or one that is no name");
  }
  JwtClaims checked{.issuer = rules.issuer, .subject = std::string(subject), .expires = *expires};
  for (const auto& claim : claims.GetObject()) {
    if (claim.value.IsString()) checked.texts.emplace(Text(claim.name), Text(claim.value));
  }
  return checked;
}

}  // namespace

bool VerifySignature(const VerificationKey& key, absl::string_view signed_text,
                     absl::string_view signature) {
  std::string der;
  if (key.algorithm == Algorithm::kEs256) {
    const std::optional<std::string> converted = ToDer(signature);
    if (!converted.has_value()) return false;
    der = *converted;
    signature = der;
  }
  const OwnedDigestContext context(EVP_MD_CTX_new());
  const EVP_MD* const digest = key.algorithm == Algorithm::kEdDsa ? nullptr : EVP_sha256();
  const bool verified =
      EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key.key.get()) == 1 &&
      EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(signed_text),
                       signed_text.size()) == 1;
  TakeReason();
  return verified;
}

absl::StatusOr<JwtClaims> VerifyJwt(absl::string_view token, absl::Span<const VerificationKey> keys,
                                    const JwtRules& rules, absl::Time now) {
  if (token.size() > kTokenBytesMax) return Refused("is too long");
  const std::vector<absl::string_view> parts = absl::StrSplit(token, '.');
  if (parts.size() != 3) return Refused("does not have three parts");
  const absl::StatusOr<rapidjson::Document> header = DecodeObject(parts[0], "header");
  if (!header.ok()) return header.status();
  const absl::StatusOr<const VerificationKey*> key = Select(*header, keys);
  if (!key.ok()) return key.status();
  const std::optional<std::string> signature = DecodeBase64Url(parts[2]);
  if (!signature.has_value()) return Refused("has a signature that is not base64url");
  if (!VerifySignature(**key, token.substr(0, token.rfind('.')), *signature))
    return Refused("was not signed by the key that it names");
  // From here on it is the issuer who speaks.
  const absl::StatusOr<rapidjson::Document> claims = DecodeObject(parts[1], "payload");
  if (!claims.ok()) return claims.status();
  return CheckClaims(*claims, rules, now);
}

std::optional<std::string> UnverifiedIssuer(absl::string_view token) {
  const std::vector<absl::string_view> parts = absl::StrSplit(token, '.');
  if (token.size() > kTokenBytesMax || parts.size() != 3) return std::nullopt;
  const absl::StatusOr<rapidjson::Document> claims = DecodeObject(parts[1], "body");
  if (!claims.ok()) return std::nullopt;
  const std::optional<absl::string_view> issuer = FindString(*claims, "iss");
  return issuer.has_value() ? std::optional(std::string(*issuer)) : std::nullopt;
}

}  // namespace sessiond::identity
