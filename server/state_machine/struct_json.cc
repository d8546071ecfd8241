#include "server/state_machine/struct_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace sessiond {
namespace {

using nlohmann::json;

constexpr double kWholeNumbersMax =
    9007199254740992.0;  // 2^53: above it doubles skip whole numbers.

// Straight into the text: a tree of JSON's own would be thrown away at once.

void Write(absl::string_view text, std::string& out) {
  const auto needs_escape = [](unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; };
  if (std::any_of(text.begin(), text.end(), needs_escape)) {
    out += json(std::string(text)).dump();
  } else {
    absl::StrAppend(&out, "\"", text, "\"");
  }
}

void Write(int32_t number, std::string& out) { absl::StrAppend(&out, number); }

void Write(double number, std::string& out) {
  if (number == std::trunc(number) && std::abs(number) <= kWholeNumbersMax) {
    absl::StrAppend(&out, static_cast<int64_t>(number));
  } else {
    out += json(number).dump();
  }
}

void Write(const Value& value, std::string& out);

template <class V>
void Write(const google::protobuf::Map<std::string, V>& map, std::string& out) {
  std::vector<const google::protobuf::MapPair<std::string, V>*> entries;
  for (const auto& entry : map) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(),
            [](const auto* a, const auto* b) { return a->first < b->first; });
  out += '{';
  for (const auto* entry : entries) {
    if (entry != entries.front()) out += ',';
    Write(entry->first, out);
    out += ':';
    Write(entry->second, out);
  }
  out += '}';
}

template <class List>
void WriteList(const List& list, std::string& out) {
  out += '[';
  for (const auto& element : list) {
    if (&element != &*list.begin()) out += ',';
    Write(element, out);
  }
  out += ']';
}

void Write(const Value& value, std::string& out) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      return Write(value.string_value(), out);
    case Value::kBoolValue:
      out += value.bool_value() ? "true" : "false";
      return;
    case Value::kStructValue:
      return Write(value.struct_value().fields(), out);
    case Value::kNumberValue:
      return Write(value.number_value(), out);
    case Value::kListValue:
      return WriteList(value.list_value().values(), out);
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      out += "null";
  }
}

template <class Map>
std::string MapToJson(const Map& map) {
  std::string text;
  Write(map, text);
  return text;
}

// Fills a Struct while the text is read, so that no tree of JSON's own stands in between.
class StructReader : public nlohmann::json_sax<json> {
 public:
  explicit StructReader(Struct* root) : root_(root) {}

  bool null() override {
    Next()->set_null_value(google::protobuf::NULL_VALUE);
    return true;
  }
  bool boolean(bool value) override {
    Next()->set_bool_value(value);
    return true;
  }
  bool number_integer(number_integer_t value) override { return Number(value); }
  bool number_unsigned(number_unsigned_t value) override { return Number(value); }
  bool number_float(number_float_t value, const string_t&) override { return Number(value); }
  bool string(string_t& value) override {
    Next()->set_string_value(std::move(value));
    return true;
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    open_.push_back({open_.empty() ? root_ : Next()->mutable_struct_value(), nullptr});
    return true;
  }
  bool key(string_t& name) override {
    name_ = std::move(name);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override {
    if (open_.empty()) return false;
    open_.push_back({nullptr, Next()->mutable_list_value()});
    return true;
  }
  bool end_array() override { return Close(); }
  bool parse_error(std::size_t, const std::string&, const json::exception&) override {
    return false;
  }

 private:
  // What is being filled: one of both.
  struct Open {
    Struct* object;
    google::protobuf::ListValue* list;
  };

  // Where the next value goes.
  Value* Next() {
    const Open& open = open_.back();
    return open.object == nullptr ? open.list->add_values()
                                  : &(*open.object->mutable_fields())[name_];
  }
  bool Number(double value) {
    Next()->set_number_value(value);
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  Struct* const root_;
  std::vector<Open> open_;
  std::string name_;
};

}  // namespace

std::string ToJson(const Struct& fields) { return MapToJson(fields.fields()); }

Struct StructFromJson(absl::string_view text) {
  Struct fields;
  if (text == "{}") return fields;
  StructReader reader(&fields);
  json::sax_parse(text.begin(), text.end(), &reader);
  return fields;
}

std::string ToJson(const google::protobuf::Map<std::string, std::string>& map) {
  return MapToJson(map);
}
std::string ToJson(const google::protobuf::Map<std::string, int32_t>& map) {
  return MapToJson(map);
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, std::string>* map) {
  Struct object = StructFromJson(text);
  for (auto& [key, value] : *object.mutable_fields())
    (*map)[key] = std::move(*value.mutable_string_value());
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, int32_t>* map) {
  const Struct object = StructFromJson(text);
  for (const auto& [key, value] : object.fields())
    (*map)[key] = static_cast<int32_t>(value.number_value());
}

std::string ToJson(const google::protobuf::RepeatedPtrField<std::string>& list) {
  std::string text;
  WriteList(list, text);
  return text;
}
void ListFromJson(absl::string_view text, google::protobuf::RepeatedPtrField<std::string>* list) {
  if (text == "[]") return;
  for (const json& element : json::parse(text.begin(), text.end()))
    list->Add(element.get<std::string>());
}

Value StringValue(absl::string_view value) {
  Value result;
  result.set_string_value(std::string(value));
  return result;
}
Value NumberValue(double value) {
  Value result;
  result.set_number_value(value);
  return result;
}
Value BoolValue(bool value) {
  Value result;
  result.set_bool_value(value);
  return result;
}
Value NullValue() {
  Value result;
  result.set_null_value(google::protobuf::NULL_VALUE);
  return result;
}

}  // namespace sessiond
