#include "server/files/small_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sessiond {
namespace {

// Adds what comes until its end, or up to `bytes_max`. False: errno says why.
bool ReadAll(int fd, std::size_t bytes_max, std::string* text) {
  std::size_t size = text->size();
  text->resize(size + bytes_max);
  while (size < text->size()) {
    const ssize_t count = read(fd, text->data() + size, text->size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  text->resize(size);
  return true;
}

absl::Status Errno() {
  const absl::StatusCode code =
      errno == ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kFailedPrecondition;
  return absl::Status(code, std::strerror(errno));
}

}  // namespace

absl::StatusOr<SmallFile> ReadSmallFile(const char* what, const std::string& path,
                                        std::size_t bytes_max) {
  const auto refused = [&](auto... why) {
    return absl::InvalidArgumentError(absl::StrCat("The ", what, " ", path, " ", why...));
  };
  // O_NONBLOCK: a pipe without a writer would be waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return refused("cannot be opened (", std::strerror(errno),
                   "): name a file that the daemon's user may read.");
  }
  const absl::Cleanup close_fd = [fd] { close(fd); };
  SmallFile file;
  if (fstat(fd, &file.stat) != 0 || !S_ISREG(file.stat.st_mode))
    return refused("is not a regular file: name one.");
  if (!ReadAll(fd, bytes_max + 1, &file.text))  // One more than allowed would be seen.
    return refused("cannot be read (", std::strerror(errno), "): check the disk that it is on.");
  if (file.text.empty()) return refused("is empty: write it again, or wait until it is written.");
  if (file.text.size() > bytes_max)
    return refused("has more than ", bytes_max, " bytes: name another file, or shorten it.");
  return file;
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, std::size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Errno();
  const absl::Cleanup close_fd = [fd] { close(fd); };
  constexpr std::size_t kChunk = 64 << 10;
  std::string text;
  for (;;) {
    const std::size_t size = text.size();
    if (!ReadAll(fd, kChunk, &text)) return Errno();
    if (text.size() == size) return text;
    if (text.size() > bytes_max)
      return absl::FailedPreconditionError(absl::StrCat("it has more than ", bytes_max, " bytes"));
  }
}

absl::string_view WithoutByteOrderMark(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  return text;
}

}  // namespace sessiond
