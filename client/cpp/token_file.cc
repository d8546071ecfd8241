#include "token_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sessiond {
namespace {

absl::Status Trouble(absl::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno,
                             absl::StrCat("The watch's position cannot be ", what, ": ", path));
}

}  // namespace

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    if (errno == ENOENT) return "";
    return Trouble("read", path);
  }
  const std::string content(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return Trouble("read", path);
  return std::string(absl::StripAsciiWhitespace(content));
}

absl::Status SaveToken(const std::string& path, const std::string& token) {
  std::string beside = absl::StrCat(path, ".XXXXXX");
  const int file = mkstemp(beside.data());
  if (file < 0) return Trouble("saved", path);
  absl::Cleanup remove = [&beside] { unlink(beside.c_str()); };
  const std::string line = absl::StrCat(token, "\n");
  const bool written = write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                       fsync(file) == 0;
  absl::Status status = written ? absl::OkStatus() : Trouble("saved", path);
  close(file);
  if (status.ok() && std::rename(beside.c_str(), path.c_str()) != 0)
    status = Trouble("saved", path);
  if (status.ok()) std::move(remove).Cancel();
  return status;
}

}  // namespace sessiond
