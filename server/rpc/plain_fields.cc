#include "server/rpc/plain_fields.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

std::string Shown(absl::string_view key) { return absl::CHexEscape(key.substr(0, 64)); }

template <class Map>
void AddSet(UpdateField field, absl::string_view name, const Map& map,
            std::vector<PlainKey>* keys) {
  for (const auto& [key, value] : map)
    keys->push_back({field, key, absl::StrCat(name, ".", Shown(key)), true});
}

template <class List>
void AddRemoved(UpdateField field, absl::string_view name, const List& list,
                std::vector<PlainKey>* keys) {
  for (int i = 0; i < list.size(); ++i)
    keys->push_back({field, list[i], absl::StrCat(name, "[", i, "]"), false});
}

// Labels and references have rules for their keys. A key with a backtick would be no key of a mask;
// no field of a workflow has one.
std::string ProblemOf(const PlainKey& key) {
  if (key.key.empty() && (!key.is_set || key.field == UpdateField::kContext))
    return "must have a key";
  if (key.field == UpdateField::kContext && absl::StrContains(key.key, '`'))
    return "is not a key: it must be without backticks";
  return "";
}

template <class Map>
void Take(Map& from, Map* to) {
  for (auto& [key, value] : from) (*to)[key] = std::move(value);
}

}  // namespace

std::vector<PlainKey> PlainKeysOf(const v1::UpdateSessionRequest& request) {
  std::vector<PlainKey> keys;
  AddSet(UpdateField::kContext, "set_context", request.set_context().fields(), &keys);
  AddSet(UpdateField::kLabels, "set_labels", request.set_labels(), &keys);
  AddSet(UpdateField::kReferences, "set_references", request.set_references(), &keys);
  AddRemoved(UpdateField::kContext, "remove_context_keys", request.remove_context_keys(), &keys);
  AddRemoved(UpdateField::kLabels, "remove_label_keys", request.remove_label_keys(), &keys);
  AddRemoved(UpdateField::kReferences, "remove_reference_keys", request.remove_reference_keys(),
             &keys);
  std::stable_sort(keys.begin(), keys.end(), [](const PlainKey& a, const PlainKey& b) {
    return std::tie(a.field, a.key) < std::tie(b.field, b.key);
  });
  return keys;
}

std::optional<std::pair<std::string, std::string>> TooManyPlainKeys(
    const v1::UpdateSessionRequest& request) {
  std::size_t count = request.update_mask().paths_size();
  std::string place;
  const auto add_set = [&](absl::string_view name, const auto& map) {
    count += map.size();
    if (!map.empty()) place = absl::StrCat(name, ".", Shown(map.begin()->first));
  };
  const auto add_removed = [&](absl::string_view name, const auto& list) {
    count += list.size();
    if (!list.empty()) place = absl::StrCat(name, "[", list.size() - 1, "]");
  };
  add_set("set_context", request.set_context().fields());
  add_set("set_labels", request.set_labels());
  add_set("set_references", request.set_references());
  add_removed("remove_context_keys", request.remove_context_keys());
  add_removed("remove_label_keys", request.remove_label_keys());
  add_removed("remove_reference_keys", request.remove_reference_keys());
  if (place.empty() || count <= kUpdatePathsMax) return std::nullopt;
  return std::pair(std::move(place),
                   absl::StrCat("is one of ", count,
                                " keys and mask paths, and an update may have ", kUpdatePathsMax,
                                "; the mask path context, labels or references replaces all keys"));
}

std::vector<std::pair<std::string, std::string>> ProblemsOf(const std::vector<PlainKey>& keys) {
  std::vector<std::pair<std::string, std::string>> problems;
  const PlainKey* before = nullptr;
  for (const PlainKey& key : keys) {
    std::string problem = ProblemOf(key);
    if (problem.empty() && before != nullptr && before->field == key.field &&
        before->key == key.key) {
      problem =
          absl::StrCat("is \"", Shown(key.key), "\", as ", before->place,
                       before->is_set ? " sets; set the key or remove it" : " is; name it once");
    }
    if (!problem.empty()) problems.emplace_back(key.place, std::move(problem));
    before = &key;
  }
  return problems;
}

absl::Status CheckMaskOverlap(const std::vector<UpdatePath>& mask,
                              const std::vector<PlainKey>& keys) {
  for (const UpdatePath& path : mask) {
    for (const PlainKey& key : keys) {
      if (key.field != path.field || (!path.key.empty() && path.key != key.key)) continue;
      return BadUpdatePath(path.path,
                           absl::StrCat("stands beside ", key.place, ", which covers the same"));
    }
  }
  return absl::OkStatus();
}

void TakePlainFields(v1::UpdateSessionRequest& request) {
  const std::vector<PlainKey> keys = PlainKeysOf(request);
  if (!keys.empty()) {
    for (const PlainKey& key : keys)
      request.mutable_update_mask()->add_paths(UpdatePathOf(key.field, key.key));
    v1::Session& session = *request.mutable_session();
    // The mutable accessor would make an empty context, which is another payload.
    if (!request.set_context().fields().empty()) {
      Take(*request.mutable_set_context()->mutable_fields(),
           session.mutable_context()->mutable_fields());
    }
    Take(*request.mutable_set_labels(), session.mutable_labels());
    Take(*request.mutable_set_references(), session.mutable_references());
  }
  request.clear_set_context();
  request.clear_remove_context_keys();
  request.clear_set_labels();
  request.clear_remove_label_keys();
  request.clear_set_references();
  request.clear_remove_reference_keys();
}

}  // namespace sessiond::rpc
