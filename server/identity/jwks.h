// The public keys of an issuer of tokens (JWKS, RFC 7517).
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond::identity {

// What a key is for: that is a property of the key, whatever a token says of itself.
enum class Algorithm {
  kRs256,  // RSA, PKCS #1 v1.5, SHA-256; 2048 to 8192 bits
  kEs256,  // ECDSA on P-256, SHA-256
  kEdDsa,  // Ed25519
};
// `RS256`, as tokens have it.
absl::string_view Name(Algorithm algorithm);

struct VerificationKey {
  // Empty: it has no name.
  std::string kid;
  Algorithm algorithm = Algorithm::kRs256;
  std::shared_ptr<EVP_PKEY> key;
};

struct Jwks {
  std::vector<VerificationKey> keys;
  // A sentence for each key that is not used: one for something else, of another kind, or broken.
  std::vector<std::string> skipped;
};

// INVALID_ARGUMENT: not a key set; more than 64 keys; a private key, which somebody has published
// and so everybody may have; two keys of one name and algorithm; or no key to verify with, and why.
absl::StatusOr<Jwks> ParseJwks(absl::string_view text);

}  // namespace sessiond::identity
