#include "state_machine/event_facts.h"

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Duration;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Timestamp;

Value MessageFact(const Message& message) {
  const Descriptor* type = message.GetDescriptor();
  if (type == Timestamp::descriptor())
    return TimeFact(FromProto(static_cast<const Timestamp&>(message)));
  if (type == Duration::descriptor())
    return NumberValue(absl::ToDoubleSeconds(FromProto(static_cast<const Duration&>(message))));
  if (type == Struct::descriptor()) return StructFact(static_cast<const Struct&>(message));
  return FactsOf(message);
}

// A linear search: for messages with so few fields it is faster than the pool's table.
const FieldDescriptor* FindField(const Message& message, absl::string_view name) {
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->name() == name) return type.field(i);
  }
  return nullptr;
}

// Only sessions have maps in the contract.
Value FieldFact(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.is_map()) return FactAt(field.name(), static_cast<const v1::Session&>(message));
  if (field.is_repeated()) {  // Of strings; the contract's resources have no other lists.
    Value value;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      *value.mutable_list_value()->add_values() =
          StringValue(reflection.GetRepeatedString(message, &field, i));
    }
    return value;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return StringValue(reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_INT32:
      return NumberValue(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return BoolValue(reflection.GetBool(message, &field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return StringValue(reflection.GetEnum(message, &field)->name());
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageFact(reflection.GetMessage(message, &field));
    default:
      return NullValue();
  }
}

// The format of ToRfc3339. Parsed by hand when the year has four digits, so that every part has a
// fixed place: absl::ParseTime takes 350 ns, as much as Evolve takes in all for some decisions.
Timestamp TimeOf(absl::string_view text) {
  absl::Time time;
  if (text.size() != std::size("2026-01-02T03:04:05.000006Z") - 1) {
    absl::ParseTime(absl::RFC3339_full, text, &time, nullptr);
    return ToProto(time);
  }
  const auto number = [&](std::size_t begin, std::size_t digits) {
    int number = 0;
    for (const char digit : text.substr(begin, digits)) number = number * 10 + (digit - '0');
    return number;
  };
  const absl::CivilSecond second(number(0, 4), number(5, 2), number(8, 2), number(11, 2),
                                 number(14, 2), number(17, 2));
  return ToProto(absl::FromCivil(second, absl::UTCTimeZone()) + absl::Microseconds(number(20, 6)));
}

void TakeMessage(const Value& fact, Message* message) {
  const Descriptor* type = message->GetDescriptor();
  if (type == Timestamp::descriptor()) {
    *static_cast<Timestamp*>(message) = TimeOf(fact.string_value());
  } else if (type == Duration::descriptor()) {
    *static_cast<Duration*>(message) = ToProto(absl::Seconds(fact.number_value()));
  } else if (type == Struct::descriptor()) {
    *static_cast<Struct*>(message) = fact.struct_value();
  } else {
    TakeFacts(fact, message);
  }
}

// Splits a path: `labels.team`, or labels.`a.b`.
std::pair<absl::string_view, std::string> FieldAndKey(absl::string_view path) {
  const std::size_t dot = path.find('.');
  if (dot == absl::string_view::npos) return {path, ""};
  absl::string_view key = path.substr(dot + 1);
  if (absl::ConsumePrefix(&key, "`")) absl::ConsumeSuffix(&key, "`");
  return {path.substr(0, dot), std::string(key)};
}

// A value of a map.
Value ItemFact(const std::string& item) { return StringValue(item); }
Value ItemFact(int32_t item) { return NumberValue(item); }
Value ItemFact(const Value& item) { return item; }
void TakeItem(const Value& fact, std::string* item) { *item = fact.string_value(); }
void TakeItem(const Value& fact, int32_t* item) {
  *item = static_cast<int32_t>(fact.number_value());
}
void TakeItem(const Value& fact, Value* item) { *item = fact; }

// Of one key, or of all.
template <class Map>
Value MapFact(const Map& map, const std::string& key) {
  Value value;
  if (!key.empty()) {
    const auto found = map.find(key);
    return found == map.end() ? NullValue() : ItemFact(found->second);
  }
  auto* fields = value.mutable_struct_value()->mutable_fields();
  for (const auto& [each, item] : map) (*fields)[each] = ItemFact(item);
  return value;
}

template <class Map>
void TakeMapFact(const std::string& key, const Value& fact, Map* map) {
  if (key.empty()) {
    map->clear();
    for (const auto& [each, item] : fact.struct_value().fields()) TakeItem(item, &(*map)[each]);
  } else if (fact.has_null_value()) {
    map->erase(key);
  } else {
    TakeItem(fact, &(*map)[key]);
  }
}

}  // namespace

Value TimeFact(absl::Time time) { return StringValue(ToRfc3339(time)); }

Value StructFact(const Struct& fields) {
  Value value;
  *value.mutable_struct_value() = fields;
  return value;
}

Value FactsOf(const Message& message) {
  Value value;
  auto* facts = value.mutable_struct_value()->mutable_fields();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) (*facts)[field->name()] = FieldFact(message, *field);
  return value;
}

Value FactOf(const Message& message, absl::string_view name) {
  const FieldDescriptor& field = *FindField(message, name);
  const bool set = field.is_repeated() || !field.has_presence() ||
                   message.GetReflection()->HasField(message, &field);
  return set ? FieldFact(message, field) : NullValue();
}

void TakeFacts(const Value& facts, Message* message) {
  for (const auto& [field, fact] : facts.struct_value().fields()) TakeFact(field, fact, message);
}

void TakeFact(absl::string_view name, const Value& fact, Message* message) {
  const FieldDescriptor* field = FindField(*message, name);
  if (field == nullptr) return;
  const auto& reflection = *message->GetReflection();
  reflection.ClearField(message, field);
  if (fact.has_null_value()) return;
  if (field->is_map()) return TakeFactAt(name, fact, static_cast<v1::Session*>(message));
  if (field->is_repeated()) {
    for (const Value& item : fact.list_value().values())
      reflection.AddString(message, field, item.string_value());
    return;
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(message, field, fact.string_value());
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(message, field, static_cast<int32_t>(fact.number_value()));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(message, field, fact.bool_value());
    case FieldDescriptor::CPPTYPE_ENUM:
      if (const auto* value = field->enum_type()->FindValueByName(fact.string_value()))
        reflection.SetEnum(message, field, value);
      return;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return TakeMessage(fact, reflection.MutableMessage(message, field));
    default:
      return;
  }
}

Value FactAt(absl::string_view path, const v1::Session& session) {
  const auto [field, key] = FieldAndKey(path);
  if (field == "context") return MapFact(session.context().fields(), key);
  if (field == "counters") return MapFact(session.counters(), key);
  if (field == "labels") return MapFact(session.labels(), key);
  if (field == "references") return MapFact(session.references(), key);
  return key.empty() ? FactOf(session, field) : FactOf(session.current_task(), key);
}

void TakeFactAt(absl::string_view path, const Value& fact, v1::Session* session) {
  const auto [field, key] = FieldAndKey(path);
  if (field == "context")
    return TakeMapFact(key, fact, session->mutable_context()->mutable_fields());
  if (field == "counters") return TakeMapFact(key, fact, session->mutable_counters());
  if (field == "labels") return TakeMapFact(key, fact, session->mutable_labels());
  if (field == "references") return TakeMapFact(key, fact, session->mutable_references());
  if (field == "current_task" && !key.empty())
    return TakeFact(key, fact, session->mutable_current_task());
  if (key.empty()) TakeFact(field, fact, session);
}

}  // namespace sessiond
