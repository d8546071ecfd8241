#include "state_machine/update_mask.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

struct Settable {
  absl::string_view name;
  UpdateField field;
  bool has_keys;
};

constexpr Settable kSettable[] = {
    {"owner_id", UpdateField::kOwnerId, false},
    {"owner_display_name", UpdateField::kOwnerDisplayName, false},
    {"hold", UpdateField::kHold, false},
    {"context", UpdateField::kContext, true},
    {"references", UpdateField::kReferences, true},
    {"labels", UpdateField::kLabels, true},
};

// Whether it needs no backticks.
bool IsBare(absl::string_view key) {
  return std::all_of(key.begin(), key.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
}

// `a.b` in backticks is one key; every other key must be made of [A-Za-z0-9_-].
bool ParseKey(absl::string_view text, std::string* key) {
  if (absl::ConsumePrefix(&text, "`")) {
    if (!absl::ConsumeSuffix(&text, "`") || absl::StrContains(text, "`")) return false;
  } else if (!IsBare(text)) {
    return false;
  }
  *key = std::string(text);
  return !key->empty();
}

absl::StatusOr<UpdatePath> ParsePath(const std::string& path) {
  const std::size_t dot = path.find('.');
  const absl::string_view name = absl::string_view(path).substr(0, dot);
  const auto* settable =
      std::find_if(std::begin(kSettable), std::end(kSettable),
                   [&](const Settable& candidate) { return candidate.name == name; });
  if (settable == std::end(kSettable)) {
    return BadUpdatePath(
        path,
        "cannot be set; what can is owner_display_name, hold, context, references, labels, a key "
        "of the last three, and owner_id while the session is CREATING");
  }
  UpdatePath parsed{.field = settable->field, .path = path};
  if (dot == std::string::npos) return parsed;
  if (!settable->has_keys || !ParseKey(absl::string_view(path).substr(dot + 1), &parsed.key)) {
    return BadUpdatePath(
        path, "names no key; a key with other characters than [A-Za-z0-9_-] is put in backticks");
  }
  return parsed;
}

}  // namespace

absl::Status BadUpdatePath(absl::string_view path, absl::string_view why) {
  const std::string shown = absl::CHexEscape(path.substr(0, 128));
  return Refusal(v1::INVALID_FIELD_MASK,
                 absl::StrCat("update_mask path \"", shown, "\" ", why, "."))
      .With("path", shown)
      .Violation("update_mask", absl::StrCat("\"", shown, "\" ", why));
}

std::string UpdatePathOf(UpdateField field, absl::string_view key) {
  const auto* settable =
      std::find_if(std::begin(kSettable), std::end(kSettable),
                   [&](const Settable& candidate) { return candidate.field == field; });
  assert(settable != std::end(kSettable) && settable->has_keys);
  return IsBare(key) ? absl::StrCat(settable->name, ".", key)
                     : absl::StrCat(settable->name, ".`", key, "`");
}

absl::StatusOr<std::vector<UpdatePath>> ParseUpdateMask(const google::protobuf::FieldMask& mask) {
  if (static_cast<std::size_t>(mask.paths_size()) > kUpdatePathsMax) {
    return BadUpdatePath(mask.paths(kUpdatePathsMax),
                         absl::StrCat("is one too many: at most ", kUpdatePathsMax, " paths"));
  }
  std::vector<UpdatePath> paths;
  for (const std::string& path : mask.paths()) {
    absl::StatusOr<UpdatePath> parsed = ParsePath(path);
    if (!parsed.ok()) return parsed.status();
    for (const UpdatePath& other : paths) {
      if (other.field == parsed->field &&
          (other.key.empty() || parsed->key.empty() || other.key == parsed->key)) {
        return BadUpdatePath(path, absl::StrCat("stands beside \"", absl::CHexEscape(other.path),
                                                "\", which covers the same"));
      }
    }
    paths.push_back(*std::move(parsed));
  }
  return paths;
}

}  // namespace sessiond
