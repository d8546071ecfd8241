#include "read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"

namespace sessiond {
namespace {

std::error_code LastError() { return {errno, std::generic_category()}; }

}  // namespace

std::error_code ReadFile(const std::string& path, std::string& content, std::size_t bytes_max) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return LastError();
  const absl::Cleanup close_it = [file] { close(file); };
  return ReadToEnd(file, content, bytes_max);
}

std::error_code ReadToEnd(int file, std::string& content, std::size_t bytes_max) {
  content.clear();
  char buffer[16 << 10];
  while (true) {
    const ssize_t size = read(file, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return LastError();
    if (size == 0) return {};
    content.append(buffer, static_cast<std::size_t>(size));
    if (content.size() > bytes_max) return std::make_error_code(std::errc::file_too_large);
  }
}

}  // namespace sessiond
