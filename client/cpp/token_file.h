// The file that a watch keeps its position in.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sessiond {

// The token in a file; empty when there is no such file yet. The error names the file.
absl::StatusOr<std::string> ReadToken(const std::string& path);

// Replaces the file by one with this token, which is on the disk when this returns: whoever reads
// it finds the old token or the new one, whatever happens meanwhile.
absl::Status SaveToken(const std::string& path, const std::string& token);

}  // namespace sessiond
