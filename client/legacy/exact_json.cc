#include "client/legacy/exact_json.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "state_machine/exact_double.h"

namespace sessiond {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

std::string NoNumber(absl::string_view digits) {
  return absl::StrCat(digits.size() > 40 ? absl::StrCat(digits.substr(0, 37), "…") : digits,
                      " cannot be kept as a number, only as a text");
}

// ---- reading

class ExactReader : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, ExactReader> {
 public:
  using Size = rapidjson::SizeType;

  ExactReader(ExactJson& json, int levels_max) : json_(json), levels_max_(levels_max) {}
  // The place that is too deep; nothing if there is none.
  const std::optional<std::string>& too_deep() const { return too_deep_; }

  bool Null() {
    return Take([](Value& value) { value.set_null_value({}); });
  }
  bool Bool(bool truth) {
    return Take([truth](Value& value) { value.set_bool_value(truth); });
  }
  bool RawNumber(const char* text, Size length, bool) {
    const absl::string_view digits(text, length);
    if (const std::optional<double> number = ExactDouble(digits)) {
      return Take([number](Value& value) { value.set_number_value(*number); });
    }
    Take([digits](Value& value) { value.set_string_value(std::string(digits)); });
    Say(NoNumber(digits));
    return true;
  }
  bool String(const char* text, Size length, bool) {
    return Take([&](Value& value) { value.set_string_value(text, length); });
  }
  bool Key(const char* text, Size length, bool) {
    Open& open = open_.back();
    open.name.assign(text, length);
    if (open.object->fields().count(open.name) > 0) Say("stands twice, and the last one counts");
    return true;
  }
  bool StartObject() {
    Value* value = nullptr;
    Take([&value](Value& taken) { value = &taken; });
    return Enter({.object = value->mutable_struct_value()});
  }
  bool EndObject(Size) { return Leave(); }
  bool StartArray() {
    Value* value = nullptr;
    Take([&value](Value& taken) { value = &taken; });
    return Enter({.list = value->mutable_list_value()});
  }
  bool EndArray(Size) { return Leave(); }

 private:
  // An open container: one of the two is set.
  struct Open {
    Struct* object = nullptr;
    ListValue* list = nullptr;
    std::string name;  // Of the object's present field.
  };

  template <class Fill>
  bool Take(Fill fill) {
    if (open_.empty()) {
      fill(json_.value);
    } else if (Open& open = open_.back(); open.object != nullptr) {
      Value& value = (*open.object->mutable_fields())[open.name];
      value.Clear();
      fill(value);
    } else {
      fill(*open.list->add_values());
    }
    return true;
  }
  bool Enter(Open open) {
    open_.push_back(std::move(open));
    const int depth = static_cast<int>(open_.size());
    json_.depth = std::max(json_.depth, depth);
    if (depth <= levels_max_) return true;
    open_.pop_back();
    too_deep_ = Path();
    return false;
  }
  bool Leave() {
    open_.pop_back();
    return true;
  }
  void Say(absl::string_view what) {
    const std::string path = Path();
    json_.changes.push_back(absl::StrCat(path, path.empty() ? "" : ": ", what));
  }
  std::string Path() const {
    std::string path;
    for (const Open& open : open_) {
      if (open.object != nullptr) {
        absl::StrAppend(&path, path.empty() ? "" : ".", open.name);
      } else {
        absl::StrAppend(&path, "[", open.list->values_size() - 1, "]");
      }
    }
    return path;
  }

  ExactJson& json_;
  const int levels_max_;
  std::vector<Open> open_;
  std::optional<std::string> too_deep_;
};

}  // namespace

absl::StatusOr<ExactJson> ParseExactJson(absl::string_view json, int levels_max) {
  // Iterative: depth uses no stack. Numbers are parsed as text, to compare them.
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag |
                              rapidjson::kParseNumbersAsStringsFlag |
                              rapidjson::kParseValidateEncodingFlag;
  if (json.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("is no JSON: it has a NUL character in it");
  }
  ExactJson exact;
  ExactReader handler(exact, levels_max);
  rapidjson::Reader reader;
  rapidjson::MemoryStream stream(json.data(), json.size());
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, handler);
  if (!result.IsError()) return exact;
  if (handler.too_deep().has_value()) {
    constexpr std::size_t kPathBytesMax = 120;  // For people: a very deep one is cut here.
    absl::string_view path = *handler.too_deep();
    if (path.size() > kPathBytesMax) path = path.substr(0, path.rfind('.', kPathBytesMax));
    return absl::InvalidArgumentError(
        absl::StrCat("is nested deeper than ", levels_max, " levels, at ", path));
  }
  if (result.Code() == rapidjson::kParseErrorStringInvalidEncoding) {
    return absl::InvalidArgumentError(
        absl::StrCat("is not UTF-8, in the text at byte ", result.Offset()));
  }
  if (result.Code() == rapidjson::kParseErrorNumberTooBig) {
    return absl::InvalidArgumentError(
        absl::StrCat("holds a number beyond all doubles, at byte ", result.Offset()));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "is no JSON: ", rapidjson::GetParseError_En(result.Code()), " Byte ", result.Offset(), "."));
}

namespace {

void ReadDigitsAt(const std::string& path, Value& value, std::vector<std::string>& changes) {
  if (value.has_list_value()) {
    int index = 0;
    for (Value& element : *value.mutable_list_value()->mutable_values()) {
      ReadDigitsAt(absl::StrCat(path, "[", index++, "]"), element, changes);
    }
  }
  if (value.kind_case() != Value::kStringValue) return;
  const std::string digits = value.string_value();
  if (const std::optional<double> number = ExactDouble(digits)) {
    value.set_number_value(*number);
  } else {
    changes.push_back(absl::StrCat(path, path.empty() ? "" : ": ", NoNumber(digits)));
  }
}

}  // namespace

void ReadDigits(Value& value, std::vector<std::string>& changes) {
  ReadDigitsAt("", value, changes);
}

namespace {

// The path of a field that is given by both of its names; empty if there is none.
std::string NamedTwice(const Struct& object, const Descriptor& type, const std::string& path) {
  std::set<const FieldDescriptor*> seen;
  for (const auto& [name, value] : object.fields()) {
    const FieldDescriptor* field = type.FindFieldByName(name);
    if (field == nullptr) field = type.FindFieldByCamelcaseName(name);
    if (field == nullptr) continue;
    const std::string at = absl::StrCat(path, path.empty() ? "" : ".", field->json_name());
    if (!seen.insert(field).second) return at;
    const Descriptor* below = field->message_type();
    // A Struct, like a map, has keys instead of fields.
    if (below == nullptr || field->is_map() || below->file() == Struct::descriptor()->file())
      continue;
    std::string twice = NamedTwice(value.struct_value(), *below, at);
    for (int i = 0; twice.empty() && i < value.list_value().values_size(); ++i) {
      twice = NamedTwice(value.list_value().values(i).struct_value(), *below,
                         absl::StrCat(at, "[", i, "]"));
    }
    if (!twice.empty()) return twice;
  }
  return "";
}

}  // namespace

absl::Status CheckExactJson(absl::string_view json, const Descriptor& type) {
  const auto exact = ParseExactJson(json);
  if (!exact.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("it ", exact.status().message()));
  }
  if (!exact->changes.empty()) return absl::InvalidArgumentError(exact->changes.front());
  const std::string twice = NamedTwice(exact->value.struct_value(), type, "");
  if (twice.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      twice, ": stands twice, by both of its names, and only one of them would count"));
}

absl::Status ReadExactJson(absl::string_view json, google::protobuf::Message& message) {
  const absl::Status exact = CheckExactJson(json, *message.GetDescriptor());
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &message);
  if (!exact.ok() || parsed.ok()) return exact;
  const absl::string_view why(parsed.message().data(), parsed.message().size());
  return absl::FailedPreconditionError(why.substr(0, why.find('\n')));
}

}  // namespace sessiond
