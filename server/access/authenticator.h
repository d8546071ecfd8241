// Who calls: from what a connection and a call bring, by the access file of this moment.
//
//   unix socket ─────────────────────────▶ `local`
//   certificate ─▶ its identity ─────────▶ a principal of the file
//   token ─▶ its hash, or its signature ─▶ a principal, or a subject of an issuer
//   nothing, and there is no file ───────▶ `anonymous`
//
// A token names the caller, and then a certificate only has to be somebody's. Whatever is wrong,
// the caller learns one sentence; the log learns which.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/access/policy.h"
#include "server/access/principal.h"
#include "server/identity/jwks_source.h"
#include "server/identity/jwt_verifier.h"

namespace sessiond::access {

struct Credentials {
  bool by_unix_socket = false;
  // Of the client's certificate: its identity, or why it has none (CertificateIdentity). Nothing:
  // it has shown none.
  std::optional<absl::StatusOr<std::string>> certificate;
  // The values of `authorization`.
  std::vector<std::string> authorization;
};

// Thread-safe.
class Authenticator {
 public:
  // REQUIRES: `methods` and `usages` outlive this. `path`: the access file, empty for none; then
  // `certificates` says whether it takes a certificate to be let in.
  Authenticator(std::string path, bool certificates, const MethodTable& methods, UsageBook& usages);

  ~Authenticator();

  // Reads the file again, and has the keys of its issuers read again, too. An error is a sentence,
  // and changes nothing.
  absl::Status Reload();

  // UNAUTHENTICATED (CREDENTIALS_INVALID), always in the same words. `why`: what was wrong, for the
  // log.
  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials, std::string* why);

  std::shared_ptr<const Policy> policy() const;
  // What is wrong with the keys of issuers at this moment, a sentence each.
  std::vector<std::string> Troubles() const;

 private:
  // An issuer's keys, and the tokens that were verified with them.
  struct IssuerKeys {
    Issuer issuer;
    // Shared with those of the file before, if they come from the same place.
    std::shared_ptr<identity::JwksSource> source;
    std::unique_ptr<identity::JwtVerifier> verifier;
  };
  // What one file grants, and the keys of its issuers.
  struct State {
    std::shared_ptr<const Policy> policy;
    // In the order of policy->issuers(); shared with the state before, where they are the same.
    std::vector<std::shared_ptr<IssuerKeys>> keys;
  };

  // An error's message is what was wrong, for the log.
  static absl::StatusOr<PrincipalPtr> Identify(const State& state, const Credentials& credentials);
  static absl::StatusOr<PrincipalPtr> OfToken(const State& state, absl::string_view token);
  static absl::StatusOr<PrincipalPtr> OfJwt(const State& state, absl::string_view token,
                                            const identity::JwtVerifier::Digest& digest);
  static absl::StatusOr<PrincipalPtr> OfClaims(const State& state, const Issuer& issuer,
                                               const identity::JwtClaims& claims);
  static absl::StatusOr<std::shared_ptr<IssuerKeys>> KeysOf(const Issuer& issuer,
                                                            const State& before);
  std::shared_ptr<const State> state() const;

  const std::string path_;
  const MethodTable& methods_;
  UsageBook& usages_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const State> state_ ABSL_GUARDED_BY(mutex_);
};

// CREDENTIALS_INVALID.
absl::Status CredentialsInvalid();

}  // namespace sessiond::access
