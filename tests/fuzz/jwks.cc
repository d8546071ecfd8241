// An issuer's keys.
#include "server/identity/jwks.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace sessiond;  // NOLINT(google-build-using-namespace)
  const auto jwks = identity::ParseJwks(fuzz::Input(data, size).Rest());
  if (!jwks.ok()) {
    fuzz::ExpectSentence(jwks.status());
    return 0;
  }
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
  return 0;
}
