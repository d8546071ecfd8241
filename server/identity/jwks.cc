#include "server/identity/jwks.h"

#include <openssl/core_names.h>

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/identity/base64url.h"
#include "server/identity/openssl.h"
#include "server/identity/strict_json.h"

namespace sessiond::identity {
namespace {

// An issuer has two or three; more would cost a look-up in vain.
constexpr std::size_t kKeysMax = 64;
constexpr int kRsaBitsMin = 2048;
// What takes longer to verify than all else that a call does.
constexpr int kRsaBitsMax = 8192;
constexpr std::size_t kExponentBytesMax = 4;
constexpr std::size_t kP256Bytes = 32;

std::optional<std::string> FindBytes(const rapidjson::Value& jwk, absl::string_view name) {
  const std::optional<absl::string_view> text = FindString(jwk, name);
  return text.has_value() ? DecodeBase64Url(*text) : std::nullopt;
}

OwnedBignum ToBignum(absl::string_view bytes) {
  return OwnedBignum(BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                               static_cast<int>(bytes.size()), nullptr));
}

// A public key of these parameters, if they are one: OpenSSL checks that points are on their curve.
OwnedKey FromParams(const char* kind, OSSL_PARAM_BLD* builder) {
  const OwnedParams params(OSSL_PARAM_BLD_to_param(builder));
  const OwnedKeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, kind, nullptr));
  EVP_PKEY* made = nullptr;
  const bool is_made =
      EVP_PKEY_fromdata_init(context.get()) == 1 &&
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY, params.get()) == 1;
  OwnedKey key(made);
  if (!is_made) return nullptr;
  const OwnedKeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  return EVP_PKEY_public_check(check.get()) == 1 ? std::move(key) : nullptr;
}

OwnedKey RsaKey(const rapidjson::Value& jwk) {
  const std::optional<std::string> n = FindBytes(jwk, "n"), e = FindBytes(jwk, "e");
  if (!n.has_value() || !e.has_value() || n->size() > kRsaBitsMax / 8 ||
      e->size() > kExponentBytesMax) {
    return nullptr;
  }
  const OwnedBignum modulus = ToBignum(*n), exponent = ToBignum(*e);
  if (BN_num_bits(modulus.get()) < kRsaBitsMin || !BN_is_odd(exponent.get()) ||
      BN_is_one(exponent.get())) {
    return nullptr;
  }
  const OwnedParamsBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get());
  return FromParams("RSA", builder.get());
}

OwnedKey P256Key(const rapidjson::Value& jwk) {
  const std::optional<std::string> x = FindBytes(jwk, "x"), y = FindBytes(jwk, "y");
  if (!x.has_value() || !y.has_value() || x->size() != kP256Bytes || y->size() != kP256Bytes)
    return nullptr;
  const std::string point = absl::StrCat("\x04", *x, *y);  // not compressed
  const OwnedParamsBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                   point.size());
  return FromParams("EC", builder.get());
}

OwnedKey Ed25519Key(const rapidjson::Value& jwk) {
  const std::optional<std::string> x = FindBytes(jwk, "x");
  if (!x.has_value()) return nullptr;
  return OwnedKey(EVP_PKEY_new_raw_public_key(
      EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(x->data()), x->size()));
}

// clang-format off
constexpr struct {
  absl::string_view kty, crv;  // crv: empty where the kind has no curves
  Algorithm algorithm;
  OwnedKey (*make)(const rapidjson::Value& jwk);
} kKinds[] = {
  {"RSA", "",        Algorithm::kRs256, RsaKey},
  {"EC",  "P-256",   Algorithm::kEs256, P256Key},
  {"OKP", "Ed25519", Algorithm::kEdDsa, Ed25519Key},
};
// clang-format on

// Whether a list of operations, if there is one, has `verify` in it.
bool MayVerify(const rapidjson::Value& jwk) {
  const rapidjson::Value* const operations = Find(jwk, "key_ops");
  if (operations == nullptr) return true;
  if (!operations->IsArray()) return false;
  for (const rapidjson::Value& operation : operations->GetArray()) {
    if (operation.IsString() && Text(operation) == "verify") return true;
  }
  return false;
}

// The key, or why it is not used.
absl::StatusOr<VerificationKey> ToKey(const rapidjson::Value& jwk) {
  if (!jwk.IsObject()) return absl::InvalidArgumentError("is not an object");
  const rapidjson::Value* const use = Find(jwk, "use");
  if ((use != nullptr && FindString(jwk, "use") != "sig") || !MayVerify(jwk))
    return absl::InvalidArgumentError("is not for signatures");
  const rapidjson::Value* const kid = Find(jwk, "kid");
  if (kid != nullptr && !kid->IsString())
    return absl::InvalidArgumentError("has a kid that is not text");
  for (const auto& kind : kKinds) {
    if (FindString(jwk, "kty") != kind.kty) continue;
    if (!kind.crv.empty() && FindString(jwk, "crv") != kind.crv) continue;
    if (Find(jwk, "alg") != nullptr && FindString(jwk, "alg") != Name(kind.algorithm)) {
      return absl::InvalidArgumentError(
          absl::StrCat("is for another algorithm than ", Name(kind.algorithm)));
    }
    OwnedKey key = kind.make(jwk);
    TakeReason();
    if (key == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("is no ", Name(kind.algorithm),
                                                     " key, or a weak one (RSA: ", kRsaBitsMin,
                                                     " to ", kRsaBitsMax, " bits)"));
    }
    return VerificationKey{.kid = kid == nullptr ? "" : std::string(Text(*kid)),
                           .algorithm = kind.algorithm,
                           .key = std::move(key)};
  }
  return absl::InvalidArgumentError("is of a kind that is not supported");
}

bool IsPrivate(const rapidjson::Value& jwk) {
  return jwk.IsObject() && FindString(jwk, "kty") != "oct" && Find(jwk, "d") != nullptr;
}

}  // namespace

absl::string_view Name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kRs256:
      return "RS256";
    case Algorithm::kEs256:
      return "ES256";
    case Algorithm::kEdDsa:
      break;
  }
  return "EdDSA";
}

absl::StatusOr<Jwks> ParseJwks(absl::string_view text) {
  const absl::StatusOr<rapidjson::Document> document = ParseStrictObject(text);
  const rapidjson::Value* const jwks = document.ok() ? Find(*document, "keys") : nullptr;
  if (jwks == nullptr || !jwks->IsArray()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "This is not a key set, {\"keys\": […]}",
        document.ok() ? std::string() : absl::StrCat(": ", document.status().message()), "."));
  }
  if (jwks->Size() > kKeysMax)
    return absl::InvalidArgumentError(absl::StrCat("There are more than ", kKeysMax, " keys."));
  Jwks parsed;
  absl::flat_hash_set<std::pair<std::string, Algorithm>> names;
  for (rapidjson::SizeType i = 0; i < jwks->Size(); ++i) {
    const rapidjson::Value& jwk = (*jwks)[i];
    if (IsPrivate(jwk)) {
      return absl::InvalidArgumentError(
          absl::StrCat("Key ", i + 1,
                       " is there with its private half: whoever has seen it can "
                       "make tokens. Replace it, and publish public halves only."));
    }
    absl::StatusOr<VerificationKey> key = ToKey(jwk);
    if (!key.ok()) {
      parsed.skipped.push_back(absl::StrCat("Key ", i + 1, " ", key.status().message(), "."));
    } else if (!key->kid.empty() && !names.emplace(key->kid, key->algorithm).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("Key ", i + 1, " has the name and the algorithm of another."));
    } else {
      parsed.keys.push_back(*std::move(key));
    }
  }
  if (parsed.keys.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("There is no key to verify RS256, ES256 or EdDSA with. ",
                     absl::StrJoin(parsed.skipped, " ")));
  }
  return parsed;
}

}  // namespace sessiond::identity
