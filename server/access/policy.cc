#include "server/access/policy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sessiond::access {

Grant EverythingOf(const MethodTable& methods) {
  return {.roles = {"admin"},
          .permissions = std::make_shared<Permissions>(methods.Of("admin")),
          .namespaces = {"*"},
          .limits = kNoLimits};
}

std::shared_ptr<Usage> UsageBook::Of(const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  if (usages_.size() >= sweep_at_) {
    const SteadyTime now = SteadyTime::Now();
    absl::erase_if(usages_, [now](const auto& each) {
      return each.second.use_count() == 1 && each.second->idle(now);
    });
    sweep_at_ = 2 * usages_.size() + 1024;
  }
  std::shared_ptr<Usage>& usage = usages_[name];
  if (usage == nullptr) usage = std::make_shared<Usage>();
  return usage;
}

std::shared_ptr<const Policy> Policy::WithoutFile(bool certificates, const MethodTable& methods,
                                                  UsageBook& usages) {
  const Grant everything = EverythingOf(methods);
  std::unique_ptr<Policy> policy(new Policy(usages));
  policy->from_file_ = false;
  if (!certificates) policy->anonymous_ = policy->Make("anonymous", everything, {});
  policy->local_ = policy->Make("local", everything, {});
  policy->any_certificate_ = everything;
  policy->open_metrics_ = !certificates;
  return std::shared_ptr<const Policy>(std::move(policy));
}

PrincipalPtr Policy::OfCertificate(const std::string& identity) const {
  if (any_certificate_.has_value()) return Make(identity, *any_certificate_, {});
  const auto found = by_certificate_.find(identity);
  return found == by_certificate_.end() ? nullptr : found->second;
}

PrincipalPtr Policy::OfTokenHash(const std::string& sha256_hex) const {
  const auto found = by_token_hash_.find(sha256_hex);
  return found == by_token_hash_.end() ? nullptr : found->second;
}

PrincipalPtr Policy::OfToken(const Issuer& issuer, absl::string_view subject,
                             const std::map<std::string, std::string, std::less<>>& claims) const {
  // The longest pattern is the most specific; one without `*` is equal to the subject.
  const Issuer::Subject* best = nullptr;
  for (const Issuer::Subject& each : issuer.subjects) {
    absl::string_view prefix = each.pattern;
    const bool matches =
        absl::ConsumeSuffix(&prefix, "*") ? absl::StartsWith(subject, prefix) : subject == prefix;
    const auto rank = [](const std::string& pattern) {
      return std::pair(!absl::EndsWith(pattern, "*"), pattern.size());
    };
    if (matches && (best == nullptr || rank(each.pattern) > rank(best->pattern))) best = &each;
  }
  if (best == nullptr) return nullptr;
  std::optional<std::string> owner;
  if (best->grant.owner.has_value()) {
    const auto claim = claims.find(*best->grant.owner);
    if (claim == claims.end() || claim->second.empty()) return nullptr;
    owner = claim->second;
  }
  return Make(absl::StrCat(issuer.issuer, "#", subject), best->grant, std::move(owner),
              issuer.issuer);
}

std::vector<PrincipalPtr> Policy::principals() const { return principals_; }

PrincipalPtr Policy::Named(absl::string_view name) const {
  for (const PrincipalPtr& each : principals_) {
    if (each->name == name) return each;
  }
  return name == "local" ? local_ : name == "anonymous" ? anonymous_ : nullptr;
}

PrincipalPtr Policy::Make(std::string name, const Grant& grant, std::optional<std::string> owner,
                          std::string counted_as) const {
  auto principal = std::make_shared<Principal>();
  principal->usage = usages_.Of(name);
  principal->limits = grant.limits;
  principal->counted_as = counted_as.empty() ? name : std::move(counted_as);
  principal->name = std::move(name);
  principal->roles = grant.roles;
  principal->permissions = grant.permissions;
  principal->scope = Scope(grant.namespaces, std::move(owner));
  return principal;
}

bool SameRights(const Principal& one, const Principal& other) {
  return one.name == other.name && one.scope.Canonical() == other.scope.Canonical() &&
         one.permissions->methods == other.permissions->methods &&
         one.permissions->whole == other.permissions->whole;
}

}  // namespace sessiond::access
