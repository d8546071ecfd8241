// One issuer's tokens: its keys, what a token has to say, and the tokens that were verified before.
//
// A client sends the same token with every call, and a signature costs several times what a small
// call does. So what has been verified is kept, by the token's SHA-256, until it expires or the
// issuer's keys change: a withdrawn key's tokens end with it. Only good tokens are kept, so that
// nobody can crowd them out who has none.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/identity/jwks_source.h"
#include "server/identity/jwt.h"

namespace sessiond::identity {

// Thread-safe.
class JwtVerifier {
 public:
  struct Options {
    JwtRules rules;
    // Where the issuer's keys come from; outlives the verifier.
    JwksSource* source = nullptr;
    // Of some 500 bytes each. When there are more, all are forgotten and verified again.
    std::size_t tokens_max = 8192;
  };
  explicit JwtVerifier(Options options) : options_(std::move(options)) {}

  // The SHA-256 of a token.
  using Digest = std::array<unsigned char, 32>;
  static Digest DigestOf(absl::string_view token);

  // What the token with this digest says, if it was verified before and is still good; else null.
  std::shared_ptr<const JwtClaims> Recall(const Digest& digest, absl::Time now);
  // As VerifyJwt. When a token names a key that is not there, the issuer's keys are looked at
  // again, and the caller is refused this time. REQUIRES: the digest is the token's.
  absl::StatusOr<std::shared_ptr<const JwtClaims>> Verify(absl::string_view token,
                                                          const Digest& digest, absl::Time now);

  // How many tokens it remembers.
  std::size_t size() const;

 private:
  // The issuer's keys. What was verified with others is forgotten. REQUIRES: in the mutex.
  std::shared_ptr<const Jwks> CurrentKeys();

  const Options options_;

  mutable std::mutex mutex_;
  // Those that `verified_` was verified with.
  std::shared_ptr<const Jwks> jwks_;
  absl::flat_hash_map<Digest, std::shared_ptr<const JwtClaims>> verified_;
};

}  // namespace sessiond::identity
