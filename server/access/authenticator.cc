#include "server/access/authenticator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/access/access_file.h"
#include "server/identity/jwks_source.h"
#include "server/identity/jwt.h"
#include "state_machine/refusal.h"

namespace sessiond::access {
namespace {

constexpr absl::string_view kBearer = "Bearer ";
// Until the keys of an issuer have been looked for.
constexpr absl::Duration kKeysPatience = absl::Seconds(5);
// What is under way is broken off in less, unless it cannot be.
constexpr absl::Duration kEndPatience = absl::Seconds(1);

absl::Status Unknown(absl::string_view why) { return absl::UnauthenticatedError(why); }

}  // namespace

absl::Status CredentialsInvalid() {
  return Refusal(v1::CREDENTIALS_INVALID,
                 "The call's credentials are missing, unknown or no longer valid. Whoever runs the "
                 "service can give you others.");
}

Authenticator::Authenticator(std::string path, bool certificates, const MethodTable& methods,
                             UsageBook& usages)
    : path_(std::move(path)), methods_(methods), usages_(usages) {
  auto state = std::make_shared<State>();
  state->policy = Policy::WithoutFile(certificates, methods, usages);
  state_ = std::move(state);
}

// The process is about to end, and what its threads use with it. A name that is still being
// resolved after that is left behind.
Authenticator::~Authenticator() {
  {
    const absl::MutexLock lock(&mutex_);
    state_ = nullptr;
  }
  identity::JwksSource::AwaitEnded(kEndPatience);
}

absl::Status Authenticator::Reload() {
  if (path_.empty()) return absl::OkStatus();
  const std::shared_ptr<const State> before = this->state();
  // Who asks for the file may know of new keys.
  for (const std::shared_ptr<IssuerKeys>& known : before->keys) known->source->Refresh();
  auto policy = ReadAccessFile(path_, methods_, usages_);
  if (!policy.ok()) return policy.status();
  auto state = std::make_shared<State>();
  state->policy = *std::move(policy);
  for (const Issuer& issuer : state->policy->issuers()) {
    auto keys = KeysOf(issuer, *before);
    if (!keys.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": the keys of ", issuer.issuer, ": ", keys.status().message()));
    }
    state->keys.push_back(*std::move(keys));
  }
  const absl::MutexLock lock(&mutex_);
  state_ = std::move(state);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Authenticator::IssuerKeys>> Authenticator::KeysOf(
    const Issuer& issuer, const State& before) {
  auto keys = std::make_shared<IssuerKeys>();
  keys->issuer = issuer;
  for (const std::shared_ptr<IssuerKeys>& known : before.keys) {
    if (known->issuer.jwks_file == issuer.jwks_file && known->issuer.jwks_url == issuer.jwks_url &&
        known->issuer.ca_file == issuer.ca_file) {
      keys->source = known->source;
    }
  }
  if (keys->source == nullptr) {
    auto source = identity::JwksSource::Start(
        {.location = issuer.jwks_url.empty() ? issuer.jwks_file : issuer.jwks_url,
         .ca_file = issuer.ca_file});
    if (!source.ok()) return source.status();
    keys->source = *std::move(source);
    // Tokens are good from the first call on, if their keys can be had.
    keys->source->AwaitAttempts(1, kKeysPatience);
  }
  keys->verifier = std::make_unique<identity::JwtVerifier>(identity::JwtVerifier::Options{
      .rules = {.issuer = issuer.issuer, .audiences = issuer.audiences},
      .source = keys->source.get()});
  return keys;
}

std::shared_ptr<const Authenticator::State> Authenticator::state() const {
  const absl::MutexLock lock(&mutex_);
  return state_;
}

std::shared_ptr<const Policy> Authenticator::policy() const { return state()->policy; }

std::vector<std::string> Authenticator::Troubles() const {
  std::vector<std::string> troubles;
  const auto now = state();
  for (std::size_t i = 0; i < now->keys.size(); ++i) {
    const std::string trouble = now->keys[i]->source->Trouble();
    if (!trouble.empty())
      troubles.push_back(
          absl::StrCat("the keys of ", now->policy->issuers()[i].issuer, ": ", trouble));
  }
  return troubles;
}

absl::StatusOr<PrincipalPtr> Authenticator::Authenticate(const Credentials& credentials,
                                                         std::string* why) {
  absl::StatusOr<PrincipalPtr> caller = Identify(*state(), credentials);
  if (caller.ok()) return caller;
  *why = std::string(caller.status().message());
  return CredentialsInvalid();
}

absl::StatusOr<PrincipalPtr> Authenticator::Identify(const State& state,
                                                     const Credentials& credentials) {
  const Policy& policy = *state.policy;
  PrincipalPtr by_certificate;
  if (credentials.certificate.has_value()) {
    const absl::StatusOr<std::string>& identity = *credentials.certificate;
    if (!identity.ok()) return identity.status();
    by_certificate = policy.OfCertificate(*identity);
    if (by_certificate == nullptr)
      return Unknown(absl::StrCat("nobody has the certificate ", *identity));
  }
  // Without a file there is nothing to compare a token with.
  if (!credentials.authorization.empty() && policy.from_file()) {
    if (credentials.authorization.size() > 1) return Unknown("more than one authorization");
    const absl::string_view header = credentials.authorization.front();
    if (!absl::StartsWithIgnoreCase(header, kBearer))
      return Unknown("the authorization does not begin with Bearer");
    return OfToken(state, header.substr(kBearer.size()));
  }
  if (by_certificate != nullptr) return by_certificate;
  if (credentials.by_unix_socket) return policy.local();
  if (policy.anonymous() == nullptr) return Unknown("no certificate and no token");
  return policy.anonymous();
}

absl::StatusOr<PrincipalPtr> Authenticator::OfToken(const State& state, absl::string_view token) {
  if (token.empty() || token.size() > identity::kTokenBytesMax)
    return Unknown("an empty token, or one of more than 4 KiB");
  const auto digest = identity::JwtVerifier::DigestOf(token);
  const std::string hash = absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
  if (PrincipalPtr known = state.policy->OfTokenHash(hash); known != nullptr) return known;
  if (!absl::StrContains(token, '.') || state.keys.empty()) return Unknown("nobody has this token");
  return OfJwt(state, token, digest);
}

absl::StatusOr<PrincipalPtr> Authenticator::OfJwt(const State& state, absl::string_view token,
                                                  const identity::JwtVerifier::Digest& digest) {
  const absl::Span<const Issuer> issuers = state.policy->issuers();
  const absl::Time now = absl::Now();
  // A token that comes again, as almost all do, is not even parsed.
  for (std::size_t i = 0; i < issuers.size(); ++i) {
    if (const auto claims = state.keys[i]->verifier->Recall(digest, now); claims != nullptr)
      return OfClaims(state, issuers[i], *claims);
  }
  // What the token says of its issuer only selects whose keys it has to be signed with.
  const std::optional<std::string> named = identity::UnverifiedIssuer(token);
  const auto issuer = std::find_if(issuers.begin(), issuers.end(),
                                   [&named](const Issuer& each) { return named == each.issuer; });
  if (issuer == issuers.end()) return Unknown("the token is of no issuer in the access file");
  const auto claims = state.keys[issuer - issuers.begin()]->verifier->Verify(token, digest, now);
  if (!claims.ok()) return Unknown(absl::StrCat(issuer->issuer, ": ", claims.status().message()));
  return OfClaims(state, *issuer, **claims);
}

absl::StatusOr<PrincipalPtr> Authenticator::OfClaims(const State& state, const Issuer& issuer,
                                                     const identity::JwtClaims& claims) {
  PrincipalPtr principal = state.policy->OfToken(issuer, claims.subject, claims.texts);
  if (principal != nullptr) return principal;
  return Unknown(absl::StrCat(issuer.issuer, ": nothing is granted to ", claims.subject,
                              ", or its token lacks the claim that names its owner"));
}

}  // namespace sessiond::access
