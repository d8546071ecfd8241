#include "server/state_machine/struct_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace sessiond {
namespace {

using nlohmann::json;

constexpr double kWholeNumbersMax =
    9007199254740992.0;  // 2^53: above it doubles skip whole numbers.

json FromValue(const Value& value);

json FromStruct(const Struct& fields) {
  json object = json::object();
  for (const auto& [name, value] : fields.fields()) object[name] = FromValue(value);
  return object;
}

json FromValue(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStringValue:
      return value.string_value();
    case Value::kBoolValue:
      return value.bool_value();
    case Value::kStructValue:
      return FromStruct(value.struct_value());
    case Value::kNumberValue: {
      const double number = value.number_value();
      if (number == std::trunc(number) && std::abs(number) <= kWholeNumbersMax)
        return static_cast<int64_t>(number);
      return number;
    }
    case Value::kListValue: {
      json list = json::array();
      for (const Value& element : value.list_value().values()) list.push_back(FromValue(element));
      return list;
    }
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      break;
  }
  return nullptr;
}

void ToValue(const json& from, Value* to) {
  switch (from.type()) {
    case json::value_t::string:
      to->set_string_value(from.get_ref<const std::string&>());
      return;
    case json::value_t::boolean:
      to->set_bool_value(from.get<bool>());
      return;
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      to->set_number_value(from.get<double>());
      return;
    case json::value_t::object: {
      auto* fields = to->mutable_struct_value()->mutable_fields();
      for (const auto& [name, value] : from.items()) ToValue(value, &(*fields)[name]);
      return;
    }
    case json::value_t::array: {
      auto* list = to->mutable_list_value();
      for (const json& element : from) ToValue(element, list->add_values());
      return;
    }
    default:
      to->set_null_value(google::protobuf::NULL_VALUE);
      return;
  }
}

json Parse(absl::string_view text) { return json::parse(text.begin(), text.end()); }

template <class Map>
std::string MapToJson(const Map& map) {
  if (map.empty()) return "{}";
  json object = json::object();
  for (const auto& [key, value] : map) object[key] = value;
  return object.dump();
}

template <class V>
void JsonToMap(absl::string_view text, google::protobuf::Map<std::string, V>* map) {
  if (text == "{}") return;
  const json object = Parse(text);
  for (const auto& [key, value] : object.items()) (*map)[key] = value.template get<V>();
}

}  // namespace

std::string ToJson(const Struct& fields) {
  return fields.fields().empty() ? "{}" : FromStruct(fields).dump();
}

Struct StructFromJson(absl::string_view text) {
  Struct fields;
  if (text == "{}") return fields;
  const json object = Parse(text);
  for (const auto& [name, value] : object.items())
    ToValue(value, &(*fields.mutable_fields())[name]);
  return fields;
}

std::string ToJson(const google::protobuf::Map<std::string, std::string>& map) {
  return MapToJson(map);
}
std::string ToJson(const google::protobuf::Map<std::string, int32_t>& map) {
  return MapToJson(map);
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, std::string>* map) {
  JsonToMap(text, map);
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, int32_t>* map) {
  JsonToMap(text, map);
}

std::string ToJson(const google::protobuf::RepeatedPtrField<std::string>& list) {
  json array = json::array();
  for (const std::string& element : list) array.push_back(element);
  return array.dump();
}
void ListFromJson(absl::string_view text, google::protobuf::RepeatedPtrField<std::string>* list) {
  if (text == "[]") return;
  for (const json& element : Parse(text)) list->Add(element.get<std::string>());
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
