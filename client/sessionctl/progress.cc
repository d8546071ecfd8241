#include "client/sessionctl/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace sessiond::ctl {
namespace {

constexpr absl::Duration kBarEvery = absl::Milliseconds(100);
constexpr absl::Duration kLineEvery = absl::Seconds(10);
constexpr int kBarWidth = 20;

std::string Bar(double share) {
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * kBarWidth);
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) absl::StrAppend(&bar, i < full ? "█" : "░");
  return bar;
}

}  // namespace

std::string WithCommas(int64_t number) {
  std::string text = absl::StrCat(number);
  for (int i = static_cast<int>(text.size()) - 3; i > (number < 0 ? 1 : 0); i -= 3) {
    text.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return text;
}

Progress::Progress(Format format, absl::string_view what, int64_t total)
    : what_(what),
      kind_(IsJson(format)    ? Kind::kNothing
            : Colored(stderr) ? Kind::kBar
                              : Kind::kLines),
      total_(total) {}

std::string Progress::Line() const {
  const double seconds = std::max(absl::ToDoubleSeconds(start_.elapsed()), 0.001);
  const double rate = done_ / seconds;
  std::string line = absl::StrCat(what_, "  ");
  if (total_ > 0) {
    if (kind_ == Kind::kBar) {
      absl::StrAppend(&line, Bar(static_cast<double>(done_) / total_), "  ");
    }
    absl::StrAppend(&line, WithCommas(done_), " of ", WithCommas(total_));
  } else {
    absl::StrAppend(&line, WithCommas(done_));
  }
  absl::StrAppend(&line, " · ", WithCommas(static_cast<int64_t>(rate)), "/s");
  if (total_ > done_ && rate > 0) {
    const absl::Duration left = absl::Seconds(static_cast<int64_t>((total_ - done_) / rate) + 1);
    absl::StrAppend(&line, " · ", ShortDuration(left), " left");
  }
  return line;
}

void Progress::Reach(int64_t done) {
  done_ = done;
  if (kind_ == Kind::kNothing) return;
  if (drawn_.elapsed() < (kind_ == Kind::kBar ? kBarEvery : kLineEvery)) return;
  drawn_ = Stopwatch();
  // \r and "erase to the end of the line".
  if (kind_ == Kind::kBar) {
    absl::FPrintF(stderr, "\r%s\033[K", Line());
    visible_ = true;
  } else {
    absl::FPrintF(stderr, "%s\n", Line());
  }
  std::fflush(stderr);
}

void Progress::Clear() {
  if (!visible_) return;
  absl::FPrintF(stderr, "\r\033[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace sessiond::ctl
