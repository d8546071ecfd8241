// JSON as credentials may have it: one object, every name once. Parsers disagree about which of two
// equal names counts, and whoever signs may use another parser than whoever verifies.
#pragma once

#include <rapidjson/document.h>

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond::identity {

// INVALID_ARGUMENT: not one JSON object in UTF-8, or one with a name twice, deeper than 8 levels.
absl::StatusOr<rapidjson::Document> ParseStrictObject(absl::string_view text);

// The member of that name; nullptr: there is none.
const rapidjson::Value* Find(const rapidjson::Value& object, absl::string_view name);
// The same, where it is a string.
std::optional<absl::string_view> FindString(const rapidjson::Value& object, absl::string_view name);

absl::string_view Text(const rapidjson::Value& string);

}  // namespace sessiond::identity
