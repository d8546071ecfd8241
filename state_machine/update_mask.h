// The paths that an update may name: a field, or one key of a map field.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/field_mask.pb.h"

namespace sessiond {

inline constexpr std::size_t kUpdatePathsMax = 256;

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

// The path of one key: `labels.team`, labels.`a.b`. REQUIRES: context, references or labels; the
// key is not empty and has no backtick.
std::string UpdatePathOf(UpdateField field, absl::string_view key);

// INVALID_FIELD_MASK about one path: `why` follows it ("is one too many").
absl::Status BadUpdatePath(absl::string_view path, absl::string_view why);

}  // namespace sessiond
