// The paths that an update may name: a field, or one key of a map field.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/field_mask.pb.h"

namespace sessiond {

enum class UpdateField { kOwnerId, kOwnerDisplayName, kHold, kContext, kReferences, kLabels };

struct UpdatePath {
  UpdateField field;
  // One key of context, references or labels; empty for the whole field.
  std::string key;
  // As given by the caller.
  std::string path;
};

// INVALID_FIELD_MASK: a path that does not exist, cannot be set, or is covered by another path of
// the mask; `*`.
absl::StatusOr<std::vector<UpdatePath>> ParseUpdateMask(const google::protobuf::FieldMask& mask);

}  // namespace sessiond
