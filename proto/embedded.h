// Files of this folder that are linked into the daemon, byte for byte.
#pragma once

#include <array>

#include "absl/strings/string_view.h"

namespace sessiond {

// A serialized google.protobuf.FileDescriptorSet of the contract and the standard services, with
// their comments.
absl::string_view DescriptorSet();

// The built-in workflow definitions, as textproto.
std::array<absl::string_view, 3> BuiltinWorkflows();

}  // namespace sessiond
