// An issuer's keys.
#include "server/identity/jwks.h"

#include "tests/fuzz/fuzz.h"

namespace sessiond {

FUZZ_INPUT(input) {
  const auto jwks = identity::ParseJwks(input.Rest());
  if (!jwks.ok()) return fuzz::ExpectSentence(jwks.status());
  fuzz::Expect(!jwks->keys.empty() && jwks->keys.size() <= 64, "There are keys, and not too many.");
  for (const std::string& skipped : jwks->skipped) fuzz::ExpectReadable(skipped);
  for (const identity::VerificationKey& key : jwks->keys) {
    const int kind = EVP_PKEY_get_base_id(key.key.get());
    const int expected = key.algorithm == identity::Algorithm::kRs256   ? EVP_PKEY_RSA
                         : key.algorithm == identity::Algorithm::kEs256 ? EVP_PKEY_EC
                                                                        : EVP_PKEY_ED25519;
    fuzz::Expect(kind == expected, "A key is of its algorithm's kind.", key.kid);
    fuzz::Expect(kind != EVP_PKEY_RSA || EVP_PKEY_get_bits(key.key.get()) >= 2048,
                 "A key is not weak.", key.kid);
  }
}

}  // namespace sessiond
