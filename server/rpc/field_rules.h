// The rules of the contract's fields (sessiond/v1/rules.proto), read from their descriptors once
// and laid out for whoever walks a message: no call looks anything up by a name.
#pragma once

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "sessiond/v1/rules.pb.h"

namespace sessiond::rpc {

struct MessagePlan;

struct FieldPlan {
  // What is to be looked at. kNothing: of what is none of these, or answered for elsewhere.
  enum class Check { kNothing, kText, kEnum, kNumber, kDuration, kTime, kStruct, kMap, kMessage };

  const google::protobuf::FieldDescriptor* field;
  // `bytes_max` is filled in.
  v1::FieldRules rules;
  Check check;
  // Of fields whose type is a message of the contract.
  const MessagePlan* message;
};

struct MessagePlan {
  // By number.
  std::vector<FieldPlan> fields;
  // Of those: the ones that have to be given, or may be only so many; the ones that are no input;
  // and the ones that hold such.
  std::vector<const FieldPlan*> required;
  std::vector<const FieldPlan*> output_only;
  std::vector<const FieldPlan*> resources;
  // The session's id, and, in a request, the message within it that holds the one it is about.
  const FieldPlan* session_id = nullptr;
  const FieldPlan* session = nullptr;
};

// REQUIRES: a type of the contract, or of what its messages are made of. For the calling thread.
const MessagePlan& PlanOf(const google::protobuf::Descriptor& type);

}  // namespace sessiond::rpc
