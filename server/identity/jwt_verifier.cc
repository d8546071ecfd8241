#include "server/identity/jwt_verifier.h"

#include <openssl/sha.h>

#include "absl/status/status.h"

namespace sessiond::identity {

JwtVerifier::Digest JwtVerifier::DigestOf(absl::string_view token) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

std::shared_ptr<const Jwks> JwtVerifier::CurrentKeys() {
  std::shared_ptr<const Jwks> jwks = options_.source->Get();
  if (jwks_ != jwks) {
    verified_.clear();
    jwks_ = jwks;
  }
  return jwks;
}

std::shared_ptr<const JwtClaims> JwtVerifier::Recall(const Digest& digest, absl::Time now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  CurrentKeys();
  const auto found = verified_.find(digest);
  if (found == verified_.end()) return nullptr;
  if (now < found->second->expires + options_.rules.leeway) return found->second;
  verified_.erase(found);
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const JwtClaims>> JwtVerifier::Verify(absl::string_view token,
                                                                     const Digest& digest,
                                                                     absl::Time now) {
  const std::shared_ptr<const Jwks> jwks = options_.source->Get();
  absl::StatusOr<JwtClaims> claims = VerifyJwt(token, jwks->keys, options_.rules, now);
  if (absl::IsNotFound(claims.status())) options_.source->LookForNewKeys();
  if (!claims.ok()) return claims.status();
  auto kept = std::make_shared<const JwtClaims>(*std::move(claims));
  const std::lock_guard<std::mutex> lock(mutex_);
  // There may be other keys by now.
  if (CurrentKeys() == jwks) {
    if (verified_.size() >= options_.tokens_max) verified_.clear();
    verified_.emplace(digest, kept);
  }
  return kept;
}

std::size_t JwtVerifier::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return verified_.size();
}

}  // namespace sessiond::identity
