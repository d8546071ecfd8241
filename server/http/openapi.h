// The HTTP interface for programs and people who know OpenAPI and not Protobuf: a description of
// what is served, made of the contract's descriptors, comments and rules of fields.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"

namespace sessiond::http {

// An OpenAPI 3.1 document, as JSON. `methods`: those that are served, in any order.
// `descriptor_set`: a serialized FileDescriptorSet of them, with comments. Equal for equal
// arguments. Takes some milliseconds: to be made once.
std::string OpenApi(absl::Span<const google::protobuf::MethodDescriptor* const> methods,
                    absl::string_view descriptor_set);

}  // namespace sessiond::http
