// google.protobuf.Struct ↔ JSON text, as the database stores it.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/map.h"
#include "google/protobuf/repeated_field.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond {

using google::protobuf::Struct;
using google::protobuf::Value;

// Compact JSON with sorted keys; whole numbers up to 2^53 without a fraction.
// REQUIRES: valid UTF-8, finite numbers, no unset Value (see rpc/validate).
std::string ToJson(const Struct& fields);

// Whether a Struct is longer than `bytes_max` as JSON. Small ones are not serialized: JSON's
// longest escape makes six bytes of one, so a Struct of at most a sixth of the limit on the wire
// always fits.
bool JsonBytesExceed(const Struct& fields, std::size_t bytes_max);

// REQUIRES: `json` is an object, as the database returns it.
Struct StructFromJson(absl::string_view json);

std::string ToJson(const google::protobuf::Map<std::string, std::string>& map);
std::string ToJson(const google::protobuf::Map<std::string, int32_t>& map);
void MapFromJson(absl::string_view json, google::protobuf::Map<std::string, std::string>* map);
void MapFromJson(absl::string_view json, google::protobuf::Map<std::string, int32_t>* map);

// Lists of texts.
std::string ToJson(const google::protobuf::RepeatedPtrField<std::string>& list);
void ListFromJson(absl::string_view json, google::protobuf::RepeatedPtrField<std::string>* list);

// Values for building changes.
Value StringValue(absl::string_view value);
Value NumberValue(double value);
Value BoolValue(bool value);
Value NullValue();

}  // namespace sessiond
