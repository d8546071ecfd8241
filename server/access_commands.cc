#include "server/access_commands.h"

#include <openssl/rand.h>

#include <map>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "db/base/sha256.h"
#include "server/access/access_file.h"
#include "server/access/policy.h"
#include "server/access/roles.h"
#include "server/config/config.h"
#include "server/rpc/services.h"

namespace sessiond {
namespace {

using access::MethodDescriptor;
using access::MethodTable;
using access::Policy;
using access::PrincipalPtr;

// As many random bits as a SHA-256 has.
constexpr int kTokenBytes = 32;

struct AccessFile {
  MethodTable methods;
  std::unique_ptr<access::UsageBook> usages;
  std::shared_ptr<const Policy> policy;
};

absl::StatusOr<AccessFile> Read(const std::string& path) {
  if (path.empty())
    return absl::InvalidArgumentError("there is no access file: name one with --access-file");
  auto methods = MethodTable::Of(rpc::ServiceNames());
  if (!methods.ok()) return methods.status();
  AccessFile file{*std::move(methods), std::make_unique<access::UsageBook>(), nullptr};
  auto policy = access::ReadAccessFile(path, file.methods, *file.usages);
  if (!policy.ok()) return policy.status();
  file.policy = *std::move(policy);
  return file;
}

std::string OwnerOf(const access::Principal& principal) {
  return principal.scope.owner_id().value_or("any");
}

std::string Row(absl::string_view name, absl::string_view value) {
  return absl::StrFormat("  %-11s %s\n", name, value);
}

// A subject of an issuer, as if its token had the claim that names the owner.
PrincipalPtr OfSubject(const Policy& policy, absl::string_view name) {
  for (const access::Issuer& issuer : policy.issuers()) {
    absl::string_view subject = name;
    if (!absl::ConsumePrefix(&subject, absl::StrCat(issuer.issuer, "#"))) continue;
    std::map<std::string, std::string, std::less<>> claims;
    for (const auto& each : issuer.subjects) {
      if (const auto& claim = each.grant.owner; claim.has_value())
        claims[*claim] =
            *claim == "sub" ? std::string(subject) : absl::StrCat("(its ", *claim, ")");
    }
    return policy.OfToken(issuer, subject, claims);
  }
  return nullptr;
}

absl::Status NoSuchPrincipal(const Policy& policy, const std::string& name) {
  std::vector<std::string> known = {"local"};
  for (const PrincipalPtr& each : policy.principals()) known.push_back(each->name);
  for (const access::Issuer& issuer : policy.issuers()) {
    for (const auto& subject : issuer.subjects)
      known.push_back(absl::StrCat(issuer.issuer, "#", subject.pattern));
  }
  return absl::NotFoundError(
      absl::StrCat("nobody is `", name, "` in the access file", DidYouMean(name, known)));
}

// By service: `SessionService   GetSession, …`.
std::string Grouped(const std::vector<const MethodDescriptor*>& methods) {
  std::map<std::string, std::vector<std::string>> by_service;
  for (const MethodDescriptor* method : methods)
    by_service[method->service()->name()].push_back(method->name());
  std::string text;
  for (const auto& [service, names] : by_service)
    absl::StrAppend(&text, absl::StrFormat("    %-16s %s\n", service, absl::StrJoin(names, ", ")));
  return text;
}

std::string Everything(const access::Principal& who, const MethodTable& table) {
  std::vector<const MethodDescriptor*> may, may_not;
  for (const MethodDescriptor* method : table.methods())
    (who.May(method) ? may : may_not).push_back(method);
  std::string text = absl::StrCat(who.name, "\n", Row("roles", absl::StrJoin(who.roles, ", ")),
                                  Row("namespaces", absl::StrJoin(who.scope.Namespaces(), ", ")),
                                  Row("owner", OwnerOf(who)));
  absl::StrAppend(&text, "  may call ", may.size(), " of ", table.methods().size(), " methods\n",
                  Grouped(may));
  if (!may_not.empty()) absl::StrAppend(&text, "  may not call\n", Grouped(may_not));
  for (const MethodDescriptor* method : may) {
    if (who.MaySetAll(method)) continue;
    absl::StrAppend(&text, "  in ", method->name(), " it may not set fields that take the role `",
                    access::RoleForAllFields(*method), "`\n");
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> CheckAccess(const std::string& path) {
  const auto file = Read(path);
  if (!file.ok()) return file.status();
  std::string text = absl::StrCat(path, " is sound\n");
  for (const PrincipalPtr& each : file->policy->principals()) {
    absl::StrAppend(
        &text,
        absl::StrFormat("  %-30s %s in %s, owner %s\n", each->name, absl::StrJoin(each->roles, "+"),
                        absl::StrJoin(each->scope.Namespaces(), ", "), OwnerOf(*each)));
  }
  for (const access::Issuer& issuer : file->policy->issuers()) {
    for (const auto& subject : issuer.subjects) {
      const access::Grant& grant = subject.grant;
      absl::StrAppend(
          &text,
          absl::StrFormat(
              "  %-30s %s in %s, owner %s\n", absl::StrCat(issuer.issuer, "#", subject.pattern),
              absl::StrJoin(grant.roles, "+"), absl::StrJoin(grant.namespaces, ", "),
              grant.owner.has_value() ? absl::StrCat("by claim ", *grant.owner) : "any"));
    }
  }
  return text;
}

absl::StatusOr<std::pair<std::string, bool>> ExplainAccess(const std::string& path,
                                                           const std::string& principal,
                                                           const std::string& method) {
  const auto file = Read(path);
  if (!file.ok()) return file.status();
  PrincipalPtr who = file->policy->Named(principal);
  if (who == nullptr) who = OfSubject(*file->policy, principal);
  if (who == nullptr) return NoSuchPrincipal(*file->policy, principal);
  if (method.empty()) return std::pair(Everything(*who, file->methods), true);
  const MethodDescriptor* asked = file->methods.Find(method);
  if (asked == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("there is no method `", method, "`",
                     DidYouMean(method, file->methods.Names(),
                                "write, for example, SessionService/GetSession")));
  }
  const std::string name = access::NameOf(*asked);
  if (!who->May(asked)) {
    return std::pair(absl::StrCat(who->name, " may not call ", name, ": its roles are ",
                                  absl::StrJoin(who->roles, ", "), "\n"),
                     false);
  }
  return std::pair(
      absl::StrCat(who->name, " may call ", name, ", for sessions in ",
                   absl::StrJoin(who->scope.Namespaces(), ", "), " of owner ", OwnerOf(*who),
                   who->MaySetAll(asked) ? ""
                                         : absl::StrCat(", but not set fields that take the role `",
                                                        access::RoleForAllFields(*asked), "`"),
                   "\n"),
      true);
}

std::string DrawToken() {
  unsigned char bytes[kTokenBytes];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return "";
  // What it is for can be seen, also by those who look for lost secrets.
  const std::string token =
      absl::StrCat("sessiond_", absl::WebSafeBase64Escape(absl::string_view(
                                    reinterpret_cast<const char*>(bytes), sizeof(bytes))));
  return absl::StrCat(token, "\nsha256:", db::Sha256Hex(token), "\n");
}

}  // namespace sessiond
