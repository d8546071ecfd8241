// A policy: who may call, and what. It comes from an access file (access_file.h), or there is none
// and whoever may come is admin.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/access/limits.h"
#include "server/access/principal.h"
#include "server/access/roles.h"

namespace sessiond::access {

// What every caller uses, by name; it outlives the files and tokens that named it. Thread-safe.
class UsageBook {
 public:
  std::shared_ptr<Usage> Of(const std::string& name);

 private:
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Usage>> usages_ ABSL_GUARDED_BY(mutex_);
  // How many there may be before those that are idle are looked for.
  std::size_t sweep_at_ ABSL_GUARDED_BY(mutex_) = 1024;
};

// What is granted: to a principal, or to all whose tokens have one kind of subject.
struct Grant {
  std::vector<std::string> roles;
  std::shared_ptr<const Permissions> permissions;
  std::vector<std::string> namespaces;
  // A principal: an owner. A subject: the claim that names the owner.
  std::optional<std::string> owner;
  Limits limits;
};

// The role admin, everywhere, without limits.
Grant EverythingOf(const MethodTable& methods);

// Somebody who issues tokens (JWT).
struct Issuer {
  struct Subject {
    // With a `*` at the end: every subject that begins so.
    std::string pattern;
    Grant grant;
  };
  std::string issuer;
  std::vector<std::string> audiences;
  // One of them.
  std::string jwks_file, jwks_url;
  // For jwks_url; empty: the system's.
  std::string ca_file;
  std::vector<Subject> subjects;
};

class Policy {
 public:
  // Without a file whoever comes is admin; with `certificates`, whoever has one.
  static std::shared_ptr<const Policy> WithoutFile(bool certificates, const MethodTable& methods,
                                                   UsageBook& usages);

  // Null: nobody.
  PrincipalPtr OfCertificate(const std::string& identity) const;
  PrincipalPtr OfTokenHash(const std::string& sha256_hex) const;
  // Of whoever reaches the unix socket: what the file grants to `local`, else admin.
  PrincipalPtr local() const { return local_; }
  // Of whoever comes without credentials; null where it takes some.
  PrincipalPtr anonymous() const { return anonymous_; }
  // By the subject and the claims of one of its tokens; null: nobody.
  PrincipalPtr OfToken(const Issuer& issuer, absl::string_view subject,
                       const std::map<std::string, std::string, std::less<>>& claims) const;

  absl::Span<const Issuer> issuers() const { return issuers_; }
  // Whether anybody may read the metrics.
  bool open_metrics() const { return open_metrics_; }
  bool from_file() const { return from_file_; }
  // Every principal that the file names.
  std::vector<PrincipalPtr> principals() const;
  PrincipalPtr Named(absl::string_view name) const;

 private:
  friend class PolicyReader;  // access_file.cc
  explicit Policy(UsageBook& usages) : usages_(usages) {}
  PrincipalPtr Make(std::string name, const Grant& grant, std::optional<std::string> owner,
                    std::string counted_as = "") const;

  UsageBook& usages_;
  bool from_file_ = true;
  bool open_metrics_ = false;
  PrincipalPtr local_, anonymous_;
  std::vector<PrincipalPtr> principals_;
  absl::flat_hash_map<std::string, PrincipalPtr> by_certificate_, by_token_hash_;
  std::vector<Issuer> issuers_;
  // Without a file: what every certificate is granted.
  std::optional<Grant> any_certificate_;
};

}  // namespace sessiond::access
