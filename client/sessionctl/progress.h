// The progress of long work, on stderr: a bar on a terminal, a plain line now and then elsewhere,
// nothing for JSON.
//
//   import  ████████████░░░░░░░░  61,204 of 100,000 · 12,240/s · 3s left
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "client/cpp/steady_time.h"
#include "client/sessionctl/output.h"

namespace sessiond::ctl {

class Progress {
 public:
  // `total` is 0 if it is unknown; `from` is what was done before.
  Progress(Format format, absl::string_view what, int64_t total);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The total done so far. Cheap: draws at most ten times a second.
  void Reach(int64_t done);
  // Removes the bar, before other output.
  void Clear();

 private:
  enum class Kind { kBar, kLines, kNothing };

  std::string Line() const;

  const std::string what_;
  const Kind kind_;
  const Stopwatch start_;
  const int64_t total_;
  int64_t done_ = 0;
  Stopwatch drawn_;
  bool visible_ = false;
};

// 1234567 → 1,234,567.
std::string WithCommas(int64_t number);

}  // namespace sessiond::ctl
