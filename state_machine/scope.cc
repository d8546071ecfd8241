#include "state_machine/scope.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sessiond {

Scope::Scope(const std::vector<std::string>& namespaces, std::optional<std::string> owner_id) {
  auto bounds = std::make_shared<Bounds>();
  for (absl::string_view name : namespaces) {
    if (name == "*") {
      bounds->all_namespaces = true;
    } else if (absl::ConsumeSuffix(&name, "*")) {
      bounds->prefixes.emplace_back(name);
    } else {
      bounds->names.emplace_back(name);
    }
  }
  if (bounds->all_namespaces) {
    bounds->names.clear();
    bounds->prefixes.clear();
    if (!owner_id.has_value()) return;
  }
  std::sort(bounds->names.begin(), bounds->names.end());
  std::sort(bounds->prefixes.begin(), bounds->prefixes.end());
  bounds->owner_id = std::move(owner_id);
  bounds_ = std::move(bounds);
}

bool Scope::HasNamespace(absl::string_view name) const {
  if (everything() || all_namespaces()) return true;
  return std::binary_search(names().begin(), names().end(), name) ||
         std::any_of(prefixes().begin(), prefixes().end(),
                     [name](const std::string& prefix) { return absl::StartsWith(name, prefix); });
}

bool Scope::Has(absl::string_view namespace_name, absl::string_view owner_id) const {
  if (everything()) return true;
  return HasNamespace(namespace_name) &&
         (!bounds_->owner_id.has_value() || *bounds_->owner_id == owner_id);
}

std::optional<std::string> Scope::owner_id() const {
  return everything() ? std::nullopt : bounds_->owner_id;
}

std::vector<std::string> Scope::Namespaces() const {
  if (everything() || all_namespaces()) return {"*"};
  std::vector<std::string> written = names();
  for (const std::string& prefix : prefixes()) written.push_back(absl::StrCat(prefix, "*"));
  return written;
}

std::string Scope::Canonical() const {
  if (everything()) return "";
  std::string text;
  // No namespace has a colon.
  for (const std::string& name : Namespaces()) absl::StrAppend(&text, name, ":");
  if (bounds_->owner_id.has_value()) absl::StrAppend(&text, ":", *bounds_->owner_id);
  return text;
}

}  // namespace sessiond
