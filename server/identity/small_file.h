// Files that are read whole: certificates and keys.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace sessiond::identity {

struct SmallFile {
  std::string text;
  // Of the very file that was read.
  struct stat stat = {};
};

// INVALID_ARGUMENT, in a sentence that begins with `what` and the path: it cannot be opened or
// read, is no regular file, is empty, or is larger than `bytes_max`.
absl::StatusOr<SmallFile> ReadSmallFile(const char* what, const std::string& path,
                                        std::size_t bytes_max);

}  // namespace sessiond::identity
