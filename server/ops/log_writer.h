// Writes log lines to a descriptor on a thread of its own: logging never waits for the reader. A
// reader that hangs costs lines, not calls.
//
//   Add ──▶ lines that wait, 1 MiB at most ──▶ writer's thread ──▶ descriptor
//             full: dropped, counted ──────────▲ and reported once lines flow again
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace sessiond {

class LogWriter {
 public:
  struct Options {
    // Owned by the caller.
    int descriptor = -1;
    // Some 4,000 lines: seconds of a busy daemon, for a reader that is restarted. The same amount
    // again may be in the process of being written.
    std::size_t waiting_bytes_max = 1 << 20;
    // The line that says how many were dropped. Called on the writer's thread.
    std::function<std::string(int64_t lines)> dropped_line;
  };

  explicit LogWriter(Options options);
  // Drops what cannot be written at once.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;

  // Takes a line, which ends in a newline, or drops it. Never waits. Any thread.
  void Add(std::string line);

  // In total: because the reader was too slow, or because writing failed.
  int64_t dropped() const { return dropped_; }
  int64_t waiting() const { return added_ - done_; }

  // Waits until all lines are written, and returns whether that happened within `patience`.
  // Async-signal-safe.
  bool AwaitWritten(absl::Duration patience) const;

 private:
  void Run();
  // False: it could not be written.
  bool Write(absl::string_view line);
  // False: it can no longer be written to, or the writer ends.
  bool AwaitWritable() const;

  const Options options_;
  // Readable when the writer ends.
  const int ending_;

  std::atomic<int64_t> added_ = 0;
  // Lines written or dropped.
  std::atomic<int64_t> done_ = 0;
  std::atomic<int64_t> dropped_ = 0;

  absl::Mutex mutex_;
  std::vector<std::string> waiting_ ABSL_GUARDED_BY(mutex_);
  std::size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Dropped since the waiting lines were added, and later than all of them.
  int64_t dropped_behind_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;

  // Writer's thread only. A line was written partly: the next one starts after a newline.
  bool torn_ = false;

  std::thread thread_;
};

// Writes output that a person or a script waits for, waiting at most `patience` for the reader.
void TellWithin(int descriptor, absl::string_view text, absl::Duration patience = absl::Seconds(1));

}  // namespace sessiond
