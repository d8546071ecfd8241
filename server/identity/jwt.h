// Tokens that an issuer has signed (JWT, RFC 7519), verified as RFC 8725 advises.
//
// - A key has one algorithm. The header's `alg` has to name it, and chooses nothing; `kid` only
//   selects among the keys that the issuer has published. `none` and the symmetric algorithms are
//   those of no key. Keys that a header brings or points to (jwk, jku, x5u, x5c) are not looked at.
// - A header with `crit` is refused: it demands what is not known here.
// - `iss`, `aud`, `sub` and `exp` have to be there; `nbf` and `iat` count if they are.
// - A token has one spelling, and 4 KiB at most. JSON objects have no name twice.
//
// OpenSSL verifies the signatures; the rest is here. Of Debian's libraries, libjwt (1.10) has
// neither EdDSA nor key sets, and cjose (0.6) no EdDSA.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/identity/jwks.h"

namespace sessiond::identity {

inline constexpr std::size_t kTokenBytesMax = 4096;

// What a token has to say.
struct JwtRules {
  std::string issuer;
  // One of them. None: no token is for us.
  std::vector<std::string> audiences;
  // How far the issuer's clock and ours may be apart.
  absl::Duration leeway = absl::Seconds(60);
};

struct JwtClaims {
  std::string issuer;
  // One line, 1 to 255 bytes.
  std::string subject;
  absl::Time expires;
  // All claims that are text, by name; `iss` and `sub` too.
  std::map<std::string, std::string, std::less<>> texts;
};

// NOT_FOUND: no key has the name that the token's header has; it may be new, and worth a look at
// the issuer's keys. UNAUTHENTICATED: any other reason.
//
// The sentence is for the log only, not for the caller, who could learn from it. It has nothing of
// the token in it.
absl::StatusOr<JwtClaims> VerifyJwt(absl::string_view token, absl::Span<const VerificationKey> keys,
                                    const JwtRules& rules, absl::Time now);

// Who the token says has issued it, unverified: to know whose keys it has to be verified with.
std::optional<std::string> UnverifiedIssuer(absl::string_view token);

// Whether the key has signed that: `signature` as tokens have it, which for ES256 is r and s.
bool VerifySignature(const VerificationKey& key, absl::string_view signed_text,
                     absl::string_view signature);

}  // namespace sessiond::identity
