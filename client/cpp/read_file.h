// Reads files, and says why one cannot be read. The standard library's streams do not: to them a
// folder is an empty file, or an exception.
#pragma once

#include <limits>
#include <string>
#include <system_error>

namespace sessiond {

inline constexpr std::size_t kAnySize = std::numeric_limits<std::size_t>::max();

// A whole file. The error is the system's, and file_too_large when there are more bytes than that;
// the content is then a part of it, or nothing.
std::error_code ReadFile(const std::string& path, std::string& content,
                         std::size_t bytes_max = kAnySize);

// The same for what is left to read of an open file, or of a pipe.
std::error_code ReadToEnd(int file, std::string& content, std::size_t bytes_max = kAnySize);

}  // namespace sessiond
