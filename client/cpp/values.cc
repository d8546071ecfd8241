#include "sessiond/values.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;

absl::Status Fill(const Map& values, const std::string& path, Struct& fields);

absl::Status Fill(const Value& value, const std::string& path, google::protobuf::Value& field) {
  if (value.inexact() != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", *value.inexact(), " loses digits in a number of JSON: send it as a string"));
  }
  if (const double* number = value.number()) {
    if (!std::isfinite(*number)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", *number, " is no number of JSON: leave it out, or send null"));
    }
    field.set_number_value(*number);
  } else if (const bool* boolean = value.boolean()) {
    field.set_bool_value(*boolean);
  } else if (const std::string* string = value.string()) {
    field.set_string_value(*string);
  } else if (const Map* map = value.map()) {
    return Fill(*map, path, *field.mutable_struct_value());
  } else if (const List* list = value.list()) {
    auto& items = *field.mutable_list_value();
    for (std::size_t i = 0; i < list->size(); ++i) {
      absl::Status status = Fill((*list)[i], absl::StrCat(path, "[", i, "]"), *items.add_values());
      if (!status.ok()) return status;
    }
  } else {
    field.set_null_value(google::protobuf::NULL_VALUE);
  }
  return absl::OkStatus();
}

absl::Status Fill(const Map& values, const std::string& path, Struct& fields) {
  for (const auto& [key, value] : values) {
    const std::string at = path.empty() ? key : absl::StrCat(path, ".", key);
    absl::Status status = Fill(value, at, (*fields.mutable_fields())[key]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

Value ToValue(const google::protobuf::Value& field) {
  switch (field.kind_case()) {
    case google::protobuf::Value::kBoolValue:
      return field.bool_value();
    case google::protobuf::Value::kNumberValue:
      return field.number_value();
    case google::protobuf::Value::kStringValue:
      return field.string_value();
    case google::protobuf::Value::kStructValue:
      return ToMap(field.struct_value());
    case google::protobuf::Value::kListValue: {
      List list;
      for (const auto& item : field.list_value().values()) list.push_back(ToValue(item));
      return list;
    }
    default:
      return nullptr;
  }
}

}  // namespace

absl::StatusOr<Struct> ToStruct(const Map& values) {
  Struct fields;
  absl::Status status = Fill(values, "", fields);
  if (!status.ok()) return status;
  return fields;
}

Map ToMap(const Struct& fields) {
  Map map;
  for (const auto& [key, field] : fields.fields()) map.emplace(key, ToValue(field));
  return map;
}

}  // namespace sessiond
