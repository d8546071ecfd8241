// Time by the machine's monotonic clock, which cannot be set: for deadlines, pauses, and durations.
// The wall clock is used only for how long ago the daemon's times are.
//
// Abseil's timed waits (AwaitWithTimeout and its relatives) use the wall clock in Debian's version
// (20220623): if it is set back an hour, they wait an hour longer. Here, timed waits use
// std::condition_variable.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/time/time.h"
#include "grpc/support/time.h"

namespace sessiond {

// Starts when it is constructed.
class Stopwatch {
 public:
  absl::Duration elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Passes this long after it was constructed; never, if the duration is infinite.
class Deadline {
 public:
  explicit Deadline(absl::Duration timeout) : timeout_(timeout) {}

  // 0 when it has passed.
  absl::Duration left() const {
    return std::max(timeout_ - watch_.elapsed(), absl::ZeroDuration());
  }
  bool passed() const { return left() == absl::ZeroDuration(); }

  // As gRPC takes it: a span, which it counts from now by the monotonic clock.
  gpr_timespec ForGrpc() const {
    const absl::Duration left = this->left();
    if (left == absl::InfiniteDuration()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    const timespec span = absl::ToTimespec(left);
    return {span.tv_sec, static_cast<int32_t>(span.tv_nsec), GPR_TIMESPAN};
  }

 private:
  Stopwatch watch_;
  absl::Duration timeout_;
};

// As the standard's waits take it, which have no infinity and overflow near their largest value.
inline std::chrono::nanoseconds ForWaiting(absl::Duration duration) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365);
  return absl::ToChronoNanoseconds(std::min(duration, kLongest));
}

// Waits until `condition` holds, or `duration` has passed; returns whether it holds. REQUIRES: a
// thread that makes it true holds the mutex, and notifies.
template <class Condition>
bool WaitAtMost(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                absl::Duration duration, Condition condition) {
  return changed.wait_for(lock, ForWaiting(duration), std::move(condition));
}

// Waits that long; returns false, and at once, when a stop is requested.
inline bool SleepFor(absl::Duration duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, ForWaiting(duration), [] { return false; });
  return !stop.stop_requested();
}

}  // namespace sessiond
