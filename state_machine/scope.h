// Which sessions a caller may see and change. A session that is not in scope is answered for as if
// it had never existed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond {

// A value, cheap to copy.
class Scope {
 public:
  // Everything.
  Scope() = default;
  // The sessions of these namespaces (`billing`, `team-*`, `*` for all), if `owner_id` is given
  // only those of this owner.
  Scope(const std::vector<std::string>& namespaces, std::optional<std::string> owner_id);

  bool everything() const { return bounds_ == nullptr; }
  bool HasNamespace(absl::string_view name) const;
  bool Has(absl::string_view namespace_name, absl::string_view owner_id) const;
  bool Has(const v1::Session& session) const {
    return Has(session.namespace_(), session.owner_id());
  }

  // For queries. REQUIRES: it is not everything.
  bool all_namespaces() const { return bounds_->all_namespaces; }
  const std::vector<std::string>& names() const { return bounds_->names; }
  // Without the `*`.
  const std::vector<std::string>& prefixes() const { return bounds_->prefixes; }

  // Nothing: sessions of any owner.
  std::optional<std::string> owner_id() const;
  // The namespaces, as they are written.
  std::vector<std::string> Namespaces() const;
  friend bool operator==(const Scope& one, const Scope& other) {
    return one.bounds_ == other.bounds_ ||
           (one.bounds_ != nullptr && other.bounds_ != nullptr && *one.bounds_ == *other.bounds_);
  }
  // Equal for equal scopes, and only for those; empty for everything.
  std::string Canonical() const;

 private:
  struct Bounds {
    bool all_namespaces = false;
    // Ascending.
    std::vector<std::string> names, prefixes;
    std::optional<std::string> owner_id;

    bool operator==(const Bounds&) const = default;
  };
  std::shared_ptr<const Bounds> bounds_;
};

}  // namespace sessiond
