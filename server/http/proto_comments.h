// The comments of the contract. Descriptors that are compiled in have none; the embedded descriptor
// set does.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::http {

class ProtoComments {
 public:
  // `descriptor_set`: a serialized FileDescriptorSet, each file behind those that it imports.
  explicit ProtoComments(absl::string_view descriptor_set);

  // The comment in front of what has this full name, a line for each paragraph and an empty one
  // between them. Empty: it has none, or is not in the set.
  std::string Of(const google::protobuf::Descriptor& type) const;
  std::string Of(const google::protobuf::FieldDescriptor& field) const;
  std::string Of(const google::protobuf::EnumDescriptor& type) const;
  std::string Of(const google::protobuf::EnumValueDescriptor& value) const;
  std::string Of(const google::protobuf::ServiceDescriptor& service) const;
  std::string Of(const google::protobuf::MethodDescriptor& method) const;

 private:
  google::protobuf::DescriptorPool pool_;
};

// A comment's first sentence, and the rest.
struct Summary {
  std::string sentence, rest;
};
Summary Summarize(absl::string_view comment);

}  // namespace sessiond::http
