#include "server/http/json_schema.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/text_rules.h"
#include "sessiond/v1/rules.pb.h"
#include "state_machine/limits.h"

namespace sessiond::http {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;
using rpc::FieldPlan;
using v1::FieldRules;
using Check = FieldPlan::Check;

// -------------------------------------------------------------------------------------------------
// types

// What a value of a type is in JSON: its schema.
struct JsonType {
  absl::string_view name;
  absl::string_view schema;
};

// Google's types that have a form of their own.
constexpr JsonType kWellKnown[] = {
    {"google.protobuf.Any", R"({"type": "object", "additionalProperties": true})"},
    {"google.protobuf.Duration", R"({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"})"},
    {"google.protobuf.FieldMask", R"({"type": "string"})"},
    {"google.protobuf.ListValue", R"({"type": "array", "items": true})"},
    {"google.protobuf.Struct", R"({"type": "object", "additionalProperties": true})"},
    {"google.protobuf.Timestamp", R"({"type": "string", "format": "date-time"})"},
    {"google.protobuf.Value", "{}"},
};

const JsonType* FindWellKnown(const Descriptor& type) {
  const auto* found =
      std::find_if(std::begin(kWellKnown), std::end(kWellKnown),
                   [&](const JsonType& known) { return known.name == type.full_name(); });
  return found == std::end(kWellKnown) ? nullptr : found;
}

std::string RefTo(absl::string_view full_name) {
  return absl::StrCat(R"({"$ref": ")", SchemaPath(full_name), R"("})");
}

// Of one value: of an element, where the field is a list.
std::string TypeOf(const FieldDescriptor& field) {
  switch (field.type()) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FLOAT:
      return R"({"oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})";
    case FieldDescriptor::TYPE_INT32:
    case FieldDescriptor::TYPE_SINT32:
    case FieldDescriptor::TYPE_SFIXED32:
      return R"({"type": "integer", "format": "int32"})";
    case FieldDescriptor::TYPE_UINT32:
    case FieldDescriptor::TYPE_FIXED32:
      return R"({"type": "integer", "format": "uint32"})";
    // Doubles do not hold them all: JSON's numbers are not enough.
    case FieldDescriptor::TYPE_INT64:
    case FieldDescriptor::TYPE_SINT64:
    case FieldDescriptor::TYPE_SFIXED64:
      return R"({"type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$"})";
    case FieldDescriptor::TYPE_UINT64:
    case FieldDescriptor::TYPE_FIXED64:
      return R"({"type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]+$"})";
    case FieldDescriptor::TYPE_BOOL:
      return R"({"type": "boolean"})";
    case FieldDescriptor::TYPE_STRING:
      return R"({"type": "string"})";
    case FieldDescriptor::TYPE_BYTES:
      return R"({"type": "string", "contentEncoding": "base64"})";
    case FieldDescriptor::TYPE_ENUM:
      return RefTo(field.enum_type()->full_name());
    case FieldDescriptor::TYPE_MESSAGE:
    case FieldDescriptor::TYPE_GROUP:
      break;
  }
  const JsonType* known = FindWellKnown(*field.message_type());
  return known != nullptr ? std::string(known->schema) : RefTo(field.message_type()->full_name());
}

// -------------------------------------------------------------------------------------------------
// rules

bool IsOutputOnly(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::rules).output_only();
}

// What of a text's rules a schema can say. A character has one byte or more, so that as many
// characters are never too few.
void WriteTextRules(FieldRules::Text text, int bytes_max, bool given, JsonWriter& out) {
  if (const std::string pattern = rpc::PatternOf(text, given); !pattern.empty()) {
    out.Text("pattern", pattern);
  } else if (given || text == FieldRules::NOT_BLANK) {
    out.Number("minLength", 1);
  }
  out.Number("maxLength", bytes_max);
}

// Whether there is anything to say: a limit that is the whole request's is none of the field's.
bool HasTextRules(const FieldPlan& plan) {
  return plan.rules.text() != FieldRules::ANY ||
         plan.rules.bytes_max() != rpc::BytesMaxOf(FieldRules::ANY);
}

bool IsText(const FieldPlan& plan) { return plan.check == Check::kText && HasTextRules(plan); }

void WriteValueRules(const FieldPlan& plan, bool in_request, JsonWriter& out) {
  const FieldRules& rules = plan.rules;
  if (IsText(plan)) {
    // Elsewhere the id of a session may be any: it is ignored, or echoed.
    const bool any_id = rules.text() == FieldRules::SESSION_ID && !in_request;
    const bool given = rules.required() && !plan.field->is_repeated();
    WriteTextRules(any_id ? FieldRules::TEXT_UNSPECIFIED : rules.text(), rules.bytes_max(), given,
                   out);
  }
  if (plan.check == Check::kNumber) out.Number("minimum", 0);
  if (!rules.names_session()) return;
  const FieldPlan& id = *plan.message->session_id;
  out.Object("properties", [&] {
    out.Object(id.field->json_name(), [&] {
      out.Text("pattern", rpc::PatternOf(FieldRules::SESSION_ID, /*given=*/true));
    });
  });
  out.Texts("required", std::vector<std::string>{id.field->json_name()});
}

void WriteMapRules(const FieldPlan& plan, JsonWriter& out) {
  out.Object("propertyNames", [&] {
    WriteTextRules(plan.rules.key(), rpc::BytesMaxOf(plan.rules.key()), /*given=*/true, out);
  });
  out.Number("maxProperties", kMapEntriesMax);
}

bool MustBeGiven(const FieldPlan& plan) {
  return plan.rules.required() || plan.rules.items_min() > 0 || plan.rules.names_session();
}

// What of the rules no schema can say.
std::string RulesInWords(const FieldPlan& plan) {
  const FieldRules& rules = plan.rules;
  std::string words;
  const bool text_of_map =
      plan.check == Check::kMap &&
      plan.field->message_type()->map_value()->type() == FieldDescriptor::TYPE_STRING;
  if ((IsText(plan) || text_of_map) && !rpc::IsAscii(rules.text()))
    absl::StrAppend(&words, plan.field->is_repeated() ? " Each at most " : " At most ",
                    rules.bytes_max(), " bytes in UTF-8.");
  if (plan.check == Check::kDuration && rules.seconds_max() > 0)
    absl::StrAppend(&words, " From ", rules.seconds_min(), "s to ", rules.seconds_max(), "s.");
  if (rules.role() != v1::MethodAccess::ROLE_UNSPECIFIED)
    absl::StrAppend(&words, " Setting it takes the role ",
                    v1::MethodAccess::Role_Name(rules.role()), ".");
  return words;
}

// -------------------------------------------------------------------------------------------------
// messages

std::vector<std::string> Required(const rpc::MessagePlan& plan) {
  std::vector<std::string> names;
  for (const FieldPlan& field : plan.fields) {
    if (MustBeGiven(field)) names.push_back(field.field->json_name());
  }
  return names;
}

std::string OneofInWords(const OneofDescriptor& oneof) {
  std::vector<std::string> names;
  for (int i = 0; i < oneof.field_count(); ++i)
    names.push_back(absl::StrCat("`", oneof.field(i)->json_name(), "`"));
  return absl::StrCat("\n\nAt most one of ", absl::StrJoin(names, ", "), " is given.");
}

void WriteDescription(absl::string_view text, JsonWriter& out) {
  if (!text.empty()) out.Text("description", text);
}

}  // namespace

std::string SchemaPath(absl::string_view full_name) {
  return absl::StrCat("#/components/schemas/", full_name);
}

void JsonSchemas::Add(const Descriptor& type) {
  if (FindWellKnown(type) != nullptr) return;
  if (!type.options().map_entry() && !messages_.emplace(type.full_name(), &type).second) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.message_type() != nullptr) Add(*field.message_type());
    if (field.enum_type() != nullptr) Add(*field.enum_type());
  }
}

void JsonSchemas::Add(const EnumDescriptor& type) { enums_.emplace(type.full_name(), &type); }

void JsonSchemas::AddRequest(const Descriptor& type) {
  Add(type);
  requests_.insert(&type);
  AddChecked(rpc::PlanOf(type), type);
}

void JsonSchemas::AddChecked(const rpc::MessagePlan& plan, const Descriptor& type) {
  if (!checked_.insert(&type).second) return;
  for (const FieldPlan& field : plan.fields) {
    if (field.check == Check::kMessage) AddChecked(*field.message, *field.field->message_type());
  }
}

void JsonSchemas::Write(JsonWriter& out) const {
  // Two sorted lists, as one.
  auto message = messages_.begin();
  auto of_enum = enums_.begin();
  while (message != messages_.end() || of_enum != enums_.end()) {
    const bool message_next =
        of_enum == enums_.end() || (message != messages_.end() && message->first < of_enum->first);
    if (message_next) {
      out.Object(message->first, [&] { WriteMessage(*message->second, out); });
      ++message;
    } else {
      out.Object(of_enum->first, [&] { WriteEnum(*of_enum->second, out); });
      ++of_enum;
    }
  }
}

void JsonSchemas::WriteMessage(const Descriptor& type, JsonWriter& out) const {
  const rpc::MessagePlan* plan = checked_.contains(&type) ? &rpc::PlanOf(type) : nullptr;
  std::string description = comments_.Of(type);
  for (int i = 0; i < type.real_oneof_decl_count(); ++i)
    description += OneofInWords(*type.oneof_decl(i));
  out.Text("type", "object");
  WriteDescription(description, out);
  if (type.options().deprecated()) out.Flag("deprecated", true);
  out.Object("properties", [&] {
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor* field = type.field(i);
      const FieldPlan* checks = nullptr;
      if (plan != nullptr)
        checks = &*std::find_if(plan->fields.begin(), plan->fields.end(),
                                [&](const FieldPlan& each) { return each.field == field; });
      WriteField(*field, checks, out);
    }
  });
  if (plan == nullptr) return;
  if (const auto required = Required(*plan); !required.empty()) out.Texts("required", required);
}

void JsonSchemas::WriteField(const FieldDescriptor& field, const FieldPlan* plan,
                             JsonWriter& out) const {
  // What the daemon alone gives is no caller's concern.
  if (IsOutputOnly(field)) plan = nullptr;
  const bool in_request = requests_.contains(field.containing_type());
  const auto write_value = [&] {
    out.Members(TypeOf(field));
    if (plan != nullptr) WriteValueRules(*plan, in_request, out);
  };
  out.Object(field.json_name(), [&] {
    if (field.is_map()) {
      const FieldDescriptor& value = *field.message_type()->map_value();
      out.Text("type", "object");
      out.Object("additionalProperties", [&] {
        out.Members(TypeOf(value));
        if (plan != nullptr && value.type() == FieldDescriptor::TYPE_STRING && HasTextRules(*plan))
          WriteTextRules(plan->rules.text(), plan->rules.bytes_max(), /*given=*/false, out);
      });
      if (plan != nullptr) WriteMapRules(*plan, out);
    } else if (field.is_repeated()) {
      out.Text("type", "array");
      out.Object("items", write_value);
      if (plan != nullptr && plan->rules.items_min() > 0)
        out.Number("minItems", plan->rules.items_min());
      if (plan != nullptr && plan->rules.items_max() > 0)
        out.Number("maxItems", plan->rules.items_max());
    } else {
      write_value();
    }
    const std::string words = plan == nullptr ? "" : RulesInWords(*plan);
    WriteDescription(comments_.Of(field) + words, out);
    if (IsOutputOnly(field)) out.Flag("readOnly", true);
    if (field.options().deprecated()) out.Flag("deprecated", true);
  });
}

void JsonSchemas::WriteEnum(const EnumDescriptor& type, JsonWriter& out) const {
  std::string description = comments_.Of(type);
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string comment = comments_.Of(*type.value(i));
    names.push_back(type.value(i)->name());
    absl::StrAppend(&description, i == 0 ? "\n\n" : "\n", "- `", names.back(), "`",
                    comment.empty() ? "" : ": ", comment);
  }
  out.Text("type", "string");
  WriteDescription(description, out);
  out.Texts("enum", names);
}

}  // namespace sessiond::http
