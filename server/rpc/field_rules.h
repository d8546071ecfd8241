// The rules of the contract's fields (sessiond/v1/rules.proto), read from their descriptors once
// and laid out for walking a message: no call looks anything up by name.
#pragma once

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::rpc {

struct MessagePlan;

struct FieldPlan {
  // What to check. kNothing: the field is none of these, or is checked elsewhere.
  enum class Check { kNothing, kText, kEnum, kNumber, kDuration, kTime, kStruct, kMap, kMessage };

  const google::protobuf::FieldDescriptor* field;
  // With `bytes_max` filled in.
  v1::FieldRules rules;
  Check check;
  // For fields whose type is a message of the contract.
  const MessagePlan* message;
};

struct MessagePlan {
  // By number.
  std::vector<FieldPlan> fields;
  // Of those: the ones that are required, or limited in number; the output-only ones; and the ones
  // that contain output-only fields.
  std::vector<const FieldPlan*> required;
  std::vector<const FieldPlan*> output_only;
  std::vector<const FieldPlan*> resources;
  // The session's id, and, in a request, the field whose message contains the id of its session.
  const FieldPlan* session_id = nullptr;
  const FieldPlan* session = nullptr;
};

// REQUIRES: a type of the contract, or of a field in its messages. For the calling thread.
const MessagePlan& PlanOf(const google::protobuf::Descriptor& type);

}  // namespace sessiond::rpc
