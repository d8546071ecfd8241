// Files that are read whole: configuration, secrets, certificates and keys, definitions. A stream
// of the standard library takes what cannot be read for empty.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sessiond {

struct SmallFile {
  std::string text;
  // Of the very file that was read.
  struct stat stat = {};
};

// INVALID_ARGUMENT, in a sentence that begins with `what` and the path: it cannot be opened or
// read, is no regular file, is empty, or is larger than `bytes_max`.
absl::StatusOr<SmallFile> ReadSmallFile(const char* what, const std::string& path,
                                        std::size_t bytes_max);

// A file or a pipe until its end, which may be at once. An error has the system's reason as its
// message, or that it is larger than `bytes_max`, and is NOT_FOUND only when nothing is there.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, std::size_t bytes_max);

// Without the byte-order mark that some editors write at the beginning.
absl::string_view WithoutByteOrderMark(absl::string_view text);

}  // namespace sessiond
