#include "server/access/authenticator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "db/base/sha256.h"
#include "server/identity/jwt.h"
#include "state_machine/refusal.h"

namespace sessiond::access {
namespace {

constexpr absl::string_view kBearer = "Bearer ";

}  // namespace

absl::Status CredentialsInvalid() {
  return Refusal(v1::CREDENTIALS_INVALID,
                 "The call's credentials are missing, unknown or no longer valid. Whoever runs the "
                 "service can give you others.");
}

Authenticator::Authenticator(std::string path, const MethodTable& methods, UsageBook& usages)
    : path_(std::move(path)), methods_(methods), usages_(usages) {
  auto state = std::make_shared<State>();
  state->policy = Policy::WithoutFile(methods, usages);
  state_ = std::move(state);
}

absl::Status Authenticator::Reload() {
  if (path_.empty()) return absl::OkStatus();
  auto policy = Policy::Read(path_, methods_, usages_);
  if (!policy.ok()) return policy.status();
  const std::shared_ptr<const State> before = this->state();
  auto state = std::make_shared<State>();
  state->policy = *std::move(policy);
  for (const Issuer& issuer : state->policy->issuers()) {
    const auto same = [&issuer](const std::shared_ptr<IssuerKeys>& known) {
      return known->issuer.issuer == issuer.issuer && known->issuer.audiences == issuer.audiences &&
             known->issuer.jwks_file == issuer.jwks_file &&
             known->issuer.jwks_url == issuer.jwks_url && known->issuer.ca_file == issuer.ca_file;
    };
    const auto known = std::find_if(before->keys.begin(), before->keys.end(), same);
    if (known != before->keys.end()) {
      state->keys.push_back(*known);
      continue;
    }
    auto keys = KeysOf(issuer);
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
    const Issuer& issuer) {
  auto source = identity::JwksSource::Start(
      {.location = issuer.jwks_url.empty() ? issuer.jwks_file : issuer.jwks_url,
       .ca_file = issuer.ca_file});
  if (!source.ok()) return source.status();
  auto keys = std::make_shared<IssuerKeys>();
  keys->issuer = issuer;
  keys->source = *std::move(source);
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
  const std::shared_ptr<const State> now = state();
  const Policy& policy = *now->policy;
  const auto refused = [why](absl::string_view reason) {
    *why = std::string(reason);
    return CredentialsInvalid();
  };
  PrincipalPtr by_certificate;
  if (credentials.certificate.has_value()) {
    const absl::StatusOr<std::string>& identity = *credentials.certificate;
    if (!identity.ok()) return refused(identity.status().message());
    by_certificate = policy.OfCertificate(*identity);
    if (by_certificate == nullptr)
      return refused(absl::StrCat("nobody has the certificate ", *identity));
  }
  // Without a file there is nothing to compare a token with.
  if (!credentials.authorization.empty() && policy.from_file()) {
    if (credentials.authorization.size() > 1) return refused("more than one authorization");
    const absl::string_view header = credentials.authorization.front();
    if (!absl::StartsWithIgnoreCase(header, kBearer))
      return refused("the authorization does not begin with Bearer");
    PrincipalPtr by_token = OfToken(*now, header.substr(kBearer.size()), why);
    if (by_token == nullptr) return CredentialsInvalid();
    return by_token;
  }
  if (by_certificate != nullptr) return by_certificate;
  if (credentials.by_unix_socket) return policy.local();
  if (policy.anonymous() == nullptr) return refused("no certificate and no token");
  return policy.anonymous();
}

PrincipalPtr Authenticator::OfToken(const State& state, absl::string_view token, std::string* why) {
  if (token.empty() || token.size() > identity::kTokenBytesMax) {
    *why = "an empty token, or one of more than 4 KiB";
    return nullptr;
  }
  const std::string hash = db::Sha256Hex(token);
  if (PrincipalPtr known = state.policy->OfTokenHash(hash); known != nullptr) return known;
  if (!absl::StrContains(token, '.') || state.keys.empty()) {
    *why = "nobody has this token";
    return nullptr;
  }
  return OfJwt(state, token, why);
}

PrincipalPtr Authenticator::OfJwt(const State& state, absl::string_view token, std::string* why) {
  std::vector<std::string> reasons;
  for (std::size_t i = 0; i < state.keys.size(); ++i) {
    const Issuer& issuer = state.policy->issuers()[i];
    const auto claims = state.keys[i]->verifier->Verify(token, absl::Now());
    if (!claims.ok()) {
      reasons.push_back(absl::StrCat(issuer.issuer, ": ", claims.status().message()));
      continue;
    }
    PrincipalPtr principal = state.policy->OfToken(issuer, (*claims)->subject, (*claims)->texts);
    if (principal != nullptr) return principal;
    reasons.push_back(absl::StrCat(issuer.issuer, ": nothing is granted to ", (*claims)->subject,
                                   ", or its token lacks the claim that names its owner"));
  }
  *why = absl::StrJoin(reasons, "; ");
  return nullptr;
}

}  // namespace sessiond::access
