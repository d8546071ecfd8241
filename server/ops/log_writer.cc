#include "server/ops/log_writer.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace sessiond {
namespace {

// When poll reports writable, this many bytes can be written without blocking, and in one piece.
constexpr std::size_t kPieceBytesMax = PIPE_BUF;

int64_t MonotonicMilliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000} + now.tv_nsec / 1'000'000;
}

}  // namespace

LogWriter::LogWriter(Options options)
    : options_(std::move(options)),
      ending_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

LogWriter::~LogWriter() {
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  eventfd_write(ending_, 1);
  thread_.join();
  close(ending_);
}

void LogWriter::Add(std::string line) {
  ++added_;
  {
    absl::MutexLock lock(&mutex_);
    if (waiting_bytes_ + line.size() <= options_.waiting_bytes_max) {
      waiting_bytes_ += line.size();
      waiting_.push_back(std::move(line));
      return;
    }
    ++dropped_behind_;
  }
  ++dropped_;
  ++done_;
}

bool LogWriter::AwaitWritten(absl::Duration patience) const {
  const int64_t begin = MonotonicMilliseconds();
  while (waiting() > 0) {
    if (MonotonicMilliseconds() - begin >= patience / absl::Milliseconds(1)) return false;
    // A signal handler cannot be notified, so this polls.
    const timespec moment = {.tv_sec = 0, .tv_nsec = 1'000'000};
    nanosleep(&moment, nullptr);
  }
  return true;
}

void LogWriter::Run() {
  std::vector<std::string> lines;
  // Not reported yet.
  int64_t dropped = 0;
  for (;;) {
    lines.clear();
    {
      absl::MutexLock lock(&mutex_);
      const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return ended_ || !waiting_.empty();
      };
      mutex_.Await(absl::Condition(&wanted));
      if (waiting_.empty()) return;
      lines.swap(waiting_);
      waiting_bytes_ = 0;
      dropped += std::exchange(dropped_behind_, 0);
    }
    for (const std::string& line : lines) {
      if (!Write(line)) {
        ++dropped;
        ++dropped_;
      }
      ++done_;
    }
    if (dropped > 0 && Write(options_.dropped_line(dropped))) dropped = 0;
  }
}

bool LogWriter::Write(absl::string_view line) {
  std::string mended;
  if (torn_) line = mended = "\n" + std::string(line);
  while (!line.empty()) {
    if (!AwaitWritable()) break;
    const ssize_t written =
        write(options_.descriptor, line.data(), std::min(line.size(), kPieceBytesMax));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) break;
    line.remove_prefix(written);
    torn_ = !line.empty();
  }
  return line.empty();
}

bool LogWriter::AwaitWritable() const {
  for (;;) {
    pollfd fds[] = {{.fd = options_.descriptor, .events = POLLOUT, .revents = 0},
                    {.fd = ending_, .events = POLLIN, .revents = 0}};
    if (poll(fds, 2, -1) < 0) continue;    // Interrupted.
    if (fds[0].revents != 0) return true;  // Or an error, which the write reports.
    if (fds[1].revents != 0) return false;
  }
}

void TellWithin(int descriptor, absl::string_view text, absl::Duration patience) {
  const int64_t begin = MonotonicMilliseconds();
  while (!text.empty()) {
    const int64_t left = patience / absl::Milliseconds(1) - (MonotonicMilliseconds() - begin);
    pollfd fd = {.fd = descriptor, .events = POLLOUT, .revents = 0};
    const int ready = poll(&fd, 1, static_cast<int>(std::max<int64_t>(0, left)));
    if (ready == 0) return;
    if (ready < 0) continue;  // Interrupted.
    const ssize_t written = write(descriptor, text.data(), std::min(text.size(), kPieceBytesMax));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) return;
    text.remove_prefix(written);
  }
}

}  // namespace sessiond
