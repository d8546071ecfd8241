#include "state_machine/struct_json.h"

#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace sessiond {
namespace {

// 2^53: above it doubles skip whole numbers.
constexpr double kWholeNumbersMax = 9007199254740992.0;

// The library's output for one value.
template <class Give>
void Append(std::string& out, Give give) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  give(writer);
  out.append(buffer.GetString(), buffer.GetSize());
}

// Written directly into the text: a JSON tree would be thrown away at once.

void Write(absl::string_view text, std::string& out) {
  const auto needs_escape = [](unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; };
  if (std::any_of(text.begin(), text.end(), needs_escape)) {
    Append(out, [&](auto& writer) {
      writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    });
  } else {
    absl::StrAppend(&out, "\"", text, "\"");
  }
}

void Write(int32_t number, std::string& out) { absl::StrAppend(&out, number); }

void Write(double number, std::string& out) {
  if (number == std::trunc(number) && std::abs(number) <= kWholeNumbersMax) {
    absl::StrAppend(&out, static_cast<int64_t>(number));
  } else {
    Append(out, [&](auto& writer) { writer.Double(number); });
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

// No tree here either: a filler takes each value as it is parsed.
using rapidjson::SizeType;

template <class Filler>
void Read(absl::string_view text, Filler& filler) {
  // Iterative: depth uses no stack. Numbers are parsed as text: PostgreSQL writes the largest with
  // all of their digits, and the library refuses some of those.
  constexpr unsigned kFlags =
      rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;
  thread_local rapidjson::Reader reader;
  rapidjson::MemoryStream stream(text.data(), text.size());
  const bool read = !reader.Parse<kFlags>(stream, filler).IsError();
  assert(read);
  static_cast<void>(read);
}

class StructFiller : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, StructFiller> {
 public:
  explicit StructFiller(Struct* root) : root_(root) {}

  bool Null() {
    Next()->set_null_value(google::protobuf::NULL_VALUE);
    return true;
  }
  bool Bool(bool value) {
    Next()->set_bool_value(value);
    return true;
  }
  bool RawNumber(const char* text, SizeType length, bool) {
    double value = 0;
    const bool is_number = absl::SimpleAtod(absl::string_view(text, length), &value);
    Next()->set_number_value(value);
    return is_number;
  }
  bool String(const char* text, SizeType length, bool) {
    Next()->set_string_value(text, length);
    return true;
  }
  bool StartObject() {
    open_.push_back({open_.empty() ? root_ : Next()->mutable_struct_value(), nullptr});
    return true;
  }
  bool Key(const char* text, SizeType length, bool) {
    name_.assign(text, length);
    return true;
  }
  bool EndObject(SizeType) { return Close(); }
  bool StartArray() {
    if (open_.empty()) return false;
    open_.push_back({nullptr, Next()->mutable_list_value()});
    return true;
  }
  bool EndArray(SizeType) { return Close(); }

 private:
  // An open container: one of the two is set.
  struct Open {
    Struct* object;
    google::protobuf::ListValue* list;
  };

  // Where the next value is written.
  Value* Next() {
    const Open& open = open_.back();
    return open.object == nullptr ? open.list->add_values()
                                  : &(*open.object->mutable_fields())[name_];
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  Struct* const root_;
  std::vector<Open> open_;
  std::string name_;
};

template <class V>
class MapFiller : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, MapFiller<V>> {
 public:
  explicit MapFiller(google::protobuf::Map<std::string, V>* map) : map_(map) {}

  bool Key(const char* text, SizeType length, bool) {
    name_.assign(text, length);
    return true;
  }
  bool String(const char* text, SizeType length, bool) {
    if constexpr (std::is_same_v<V, std::string>) (*map_)[name_].assign(text, length);
    return true;
  }
  bool RawNumber(const char* text, SizeType length, bool) {
    if constexpr (std::is_integral_v<V>)
      return absl::SimpleAtoi(absl::string_view(text, length), &(*map_)[name_]);
    return true;
  }

 private:
  google::protobuf::Map<std::string, V>* const map_;
  std::string name_;
};

class ListFiller : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, ListFiller> {
 public:
  explicit ListFiller(google::protobuf::RepeatedPtrField<std::string>* list) : list_(list) {}

  bool String(const char* text, SizeType length, bool) {
    list_->Add()->assign(text, length);
    return true;
  }

 private:
  google::protobuf::RepeatedPtrField<std::string>* const list_;
};

}  // namespace

std::string ToJson(const Struct& fields) { return MapToJson(fields.fields()); }

bool JsonBytesExceed(const Struct& fields, std::size_t bytes_max) {
  return fields.ByteSizeLong() > bytes_max / 6 && ToJson(fields).size() > bytes_max;
}

Struct StructFromJson(absl::string_view text) {
  Struct fields;
  if (text == "{}") return fields;
  StructFiller filler(&fields);
  Read(text, filler);
  return fields;
}

std::string ToJson(const google::protobuf::Map<std::string, std::string>& map) {
  return MapToJson(map);
}
std::string ToJson(const google::protobuf::Map<std::string, int32_t>& map) {
  return MapToJson(map);
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, std::string>* map) {
  if (text == "{}") return;
  MapFiller filler(map);
  Read(text, filler);
}
void MapFromJson(absl::string_view text, google::protobuf::Map<std::string, int32_t>* map) {
  if (text == "{}") return;
  MapFiller filler(map);
  Read(text, filler);
}

std::string ToJson(const google::protobuf::RepeatedPtrField<std::string>& list) {
  std::string text;
  WriteList(list, text);
  return text;
}
void ListFromJson(absl::string_view text, google::protobuf::RepeatedPtrField<std::string>* list) {
  if (text == "[]") return;
  ListFiller filler(list);
  Read(text, filler);
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
