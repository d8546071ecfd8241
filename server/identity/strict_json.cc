#include "server/identity/strict_json.h"

#include <rapidjson/memorystream.h>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"

namespace sessiond::identity {
namespace {

constexpr int kDepthMax = 8;

// Whether everything in `value` is at most `levels` deep, and has every name once.
bool IsStrict(const rapidjson::Value& value, int levels) {
  if (!value.IsObject() && !value.IsArray()) return true;
  if (levels == 0) return false;
  if (value.IsArray()) {
    for (const rapidjson::Value& element : value.GetArray()) {
      if (!IsStrict(element, levels - 1)) return false;
    }
    return true;
  }
  absl::flat_hash_set<absl::string_view> names;
  for (const auto& member : value.GetObject()) {
    if (!names.insert(Text(member.name)).second) return false;
    if (!IsStrict(member.value, levels - 1)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<rapidjson::Document> ParseStrictObject(absl::string_view text) {
  // Iterative: a text of brackets does not exhaust the stack. Not with full precision: 0e-50 is
  // undefined behaviour there (RapidJSON 1.1), and times do not need it.
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag;
  rapidjson::Document document;
  rapidjson::MemoryStream stream(text.data(), text.size());
  // To RapidJSON a NUL byte is the end, whatever follows.
  if (absl::StrContains(text, absl::string_view("\0", 1)) ||
      document.ParseStream<kFlags>(stream).HasParseError() || !document.IsObject()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  if (!IsStrict(document, kDepthMax))
    return absl::InvalidArgumentError("a name twice in an object, or too many levels");
  return document;
}

const rapidjson::Value* Find(const rapidjson::Value& object, absl::string_view name) {
  const rapidjson::Value key(
      rapidjson::StringRef(name.data(), static_cast<rapidjson::SizeType>(name.size())));
  const auto found = object.FindMember(key);
  return found == object.MemberEnd() ? nullptr : &found->value;
}

std::optional<absl::string_view> FindString(const rapidjson::Value& object,
                                            absl::string_view name) {
  const rapidjson::Value* const value = Find(object, name);
  if (value == nullptr || !value->IsString()) return std::nullopt;
  return Text(*value);
}

absl::string_view Text(const rapidjson::Value& string) {
  return absl::string_view(string.GetString(), string.GetStringLength());
}

}  // namespace sessiond::identity
