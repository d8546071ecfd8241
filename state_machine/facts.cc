#include "state_machine/facts.h"

#include <string>
#include <vector>

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
    return StringValue(ToRfc3339(FromProto(static_cast<const Timestamp&>(message))));
  if (type == Duration::descriptor())
    return NumberValue(absl::ToDoubleSeconds(FromProto(static_cast<const Duration&>(message))));
  if (type == Struct::descriptor()) {
    Value value;
    *value.mutable_struct_value() = static_cast<const Struct&>(message);
    return value;
  }
  return FactsOf(message);
}

Value FieldFact(const Message& message, const FieldDescriptor& field);

// Of text keys; the contract has no others.
Value MapFact(const Message& message, const FieldDescriptor& field) {
  Value value;
  auto* entries = value.mutable_struct_value()->mutable_fields();
  const auto& reflection = *message.GetReflection();
  const Descriptor& type = *field.message_type();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    (*entries)[entry.GetReflection()->GetString(entry, type.map_key())] =
        FieldFact(entry, *type.map_value());
  }
  return value;
}

Value FieldFact(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.is_map()) return MapFact(message, field);
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

void TakeMessage(const Value& fact, Message* message) {
  const Descriptor* type = message->GetDescriptor();
  if (type == Timestamp::descriptor()) {
    absl::Time time;
    if (absl::ParseTime(absl::RFC3339_full, fact.string_value(), &time, nullptr))
      *static_cast<Timestamp*>(message) = ToProto(time);
  } else if (type == Duration::descriptor()) {
    *static_cast<Duration*>(message) = ToProto(absl::Seconds(fact.number_value()));
  } else if (type == Struct::descriptor()) {
    *static_cast<Struct*>(message) = fact.struct_value();
  } else {
    TakeFacts(fact, message);
  }
}

}  // namespace

Value FactsOf(const Message& message) {
  Value value;
  auto* facts = value.mutable_struct_value()->mutable_fields();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) (*facts)[field->name()] = FieldFact(message, *field);
  return value;
}

Value FactOf(const Message& message, absl::string_view name) {
  const FieldDescriptor& field = *message.GetDescriptor()->FindFieldByName(std::string(name));
  const bool set = field.is_repeated() || !field.has_presence() ||
                   message.GetReflection()->HasField(message, &field);
  return set ? FieldFact(message, field) : NullValue();
}

void TakeFacts(const Value& facts, Message* message) {
  for (const auto& [field, fact] : facts.struct_value().fields()) TakeFact(field, fact, message);
}

void TakeFact(absl::string_view name, const Value& fact, Message* message) {
  const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(std::string(name));
  if (field == nullptr) return;
  const auto& reflection = *message->GetReflection();
  reflection.ClearField(message, field);
  if (fact.has_null_value()) return;
  if (field->is_map()) {
    for (const auto& [key, item] : fact.struct_value().fields()) {
      Message* entry = reflection.AddMessage(message, field);
      entry->GetReflection()->SetString(entry, field->message_type()->map_key(), key);
      TakeFact(field->message_type()->map_value()->name(), item, entry);
    }
    return;
  }
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

}  // namespace sessiond
