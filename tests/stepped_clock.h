// A wall clock that a test steps for programs it runs: see clock_shim.c.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace sessiond {

class SteppedClock {
 public:
  SteppedClock() : path_(absl::StrCat(testing::TempDir(), "stepped_clock.XXXXXX")) {
    file_ = mkstemp(path_.data());
    fchmod(file_, 0644);  // A PostgreSQL of another user reads it, too.
    Step(absl::ZeroDuration());
  }
  // The same clock, in the program that it is stepped for.
  explicit SteppedClock(const char* path) : file_(open(path, O_WRONLY | O_CLOEXEC)) {}
  ~SteppedClock() {
    close(file_);
    if (!path_.empty()) unlink(path_.c_str());
  }
  SteppedClock(const SteppedClock&) = delete;
  SteppedClock& operator=(const SteppedClock&) = delete;

  // By how much it is off from now on: not from where it was, but from the machine's clock.
  void Step(absl::Duration off) {
    const int64_t ns = absl::ToInt64Nanoseconds(off);
    ASSERT_EQ(pwrite(file_, &ns, sizeof(ns), 0), static_cast<ssize_t>(sizeof(ns)));
  }

  // Goes before a command in a shell. A sanitizer wants to be loaded first, and need not be.
  std::string Environment() const {
    return absl::StrCat("ASAN_OPTIONS=verify_asan_link_order=0:$ASAN_OPTIONS LD_PRELOAD=",
                        CLOCK_SHIM, " CLOCK_SHIM_FILE=", path_);
  }

 private:
  std::string path_;  // Empty when it is another's.
  int file_;
};

}  // namespace sessiond
