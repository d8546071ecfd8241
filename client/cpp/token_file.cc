#include "token_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "read_file.h"

namespace sessiond {
namespace {

absl::Status Trouble(absl::string_view what, const std::string& path, int error = errno) {
  return absl::ErrnoToStatus(error,
                             absl::StrCat("The watch's position cannot be ", what, ": ", path));
}

}  // namespace

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::string content;
  const std::error_code error = ReadFile(path, content);
  if (error == std::errc::no_such_file_or_directory) return "";
  if (error) return Trouble("read", path, error.value());
  absl::string_view token = content;
  absl::ConsumePrefix(&token, "\xEF\xBB\xBF");
  return std::string(absl::StripAsciiWhitespace(token));
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
