#include "server/rpc/field_rules.h"

#include <algorithm>
#include <utility>

#include "absl/container/node_hash_map.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/rpc/text_rules.h"
#include "sessiond/v1/workflow.pb.h"
#include "state_machine/limits.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using Check = FieldPlan::Check;

Check CheckOfMessage(const Descriptor& type, bool output_only) {
  if (&type == google::protobuf::Struct::descriptor()) return Check::kStruct;
  if (&type == google::protobuf::Timestamp::descriptor()) return Check::kTime;
  if (&type == google::protobuf::Duration::descriptor()) return Check::kDuration;
  // Workflow definitions are checked by CheckWorkflow.
  if (output_only || &type == v1::Workflow::descriptor()) return Check::kNothing;
  return Check::kMessage;
}

Check CheckOf(const FieldDescriptor& field, const v1::FieldRules& rules) {
  if (field.is_map()) return Check::kMap;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return Check::kText;
    case FieldDescriptor::CPPTYPE_ENUM:
      return Check::kEnum;
    case FieldDescriptor::CPPTYPE_INT32:
      return rules.not_negative() ? Check::kNumber : Check::kNothing;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return CheckOfMessage(*field.message_type(), rules.output_only());
    default:
      return Check::kNothing;
  }
}

v1::FieldRules RulesOf(const FieldDescriptor& field) {
  v1::FieldRules rules = field.options().GetExtension(v1::rules);
  // Google's, without rules of ours: its paths may be as long as names.
  if (field.containing_type() == google::protobuf::FieldMask::descriptor())
    rules.set_bytes_max(kShortStringBytesMax);
  if (rules.bytes_max() == 0) rules.set_bytes_max(BytesMaxOf(rules.text()));
  return rules;
}

void Fill(const Descriptor& type, MessagePlan* plan) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    v1::FieldRules rules = RulesOf(field);
    const Check check = CheckOf(field, rules);
    const bool walked =
        check == Check::kMessage || field.message_type() == v1::Workflow::descriptor();
    const MessagePlan* message = walked ? &PlanOf(*field.message_type()) : nullptr;
    plan->fields.push_back({&field, std::move(rules), check, message});
  }
  std::sort(plan->fields.begin(), plan->fields.end(), [](const FieldPlan& a, const FieldPlan& b) {
    return a.field->number() < b.field->number();
  });
  for (const FieldPlan& field : plan->fields) {
    const v1::FieldRules& rules = field.rules;
    const bool is_id = rules.text() == v1::FieldRules::SESSION_ID;
    if (is_id) plan->session_id = &field;
    if (rules.names_session()) plan->session = &field;
    // A missing session id is checked first, and then nothing else (validate.cc).
    if ((rules.required() && !is_id) || rules.items_min() > 0 || rules.items_max() > 0)
      plan->required.push_back(&field);
    if (rules.output_only()) plan->output_only.push_back(&field);
    if (field.message != nullptr && !field.message->output_only.empty())
      plan->resources.push_back(&field);
  }
}

}  // namespace

const MessagePlan& PlanOf(const Descriptor& type) {
  thread_local absl::node_hash_map<const Descriptor*, MessagePlan> plans;
  const auto [plan, is_new] = plans.try_emplace(&type);
  MessagePlan& made = plan->second;
  if (is_new) Fill(type, &made);  // This may add others: nodes stay where they are.
  return made;
}

}  // namespace sessiond::rpc
