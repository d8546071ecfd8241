// When something happens in this process: a point of the machine's monotonic clock, which is never
// set. Deadlines, pauses, waits and ages are measured by it; what is stored or shown is dated by
// the database's clock (database_clock.h). A type of its own, so that the two cannot be mixed up.
//
// Abseil's timed waits (AwaitWithTimeout, WaitWithTimeout, WaitForNotificationWithTimeout) go by
// the wall clock in Debian's version (20220623): set back an hour, they wait an hour longer. Here,
// timed waits use std::condition_variable, or a SteadyEvent.
#pragma once

#include <algorithm>
#include <chrono>
#include <compare>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <utility>

#include "absl/time/time.h"

namespace sessiond {

class SteadyTime {
 public:
  // Before everything.
  constexpr SteadyTime() = default;
  static SteadyTime Now() {
    return SteadyTime(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
  }
  static constexpr SteadyTime InfinitePast() { return SteadyTime(kPast); }
  static constexpr SteadyTime InfiniteFuture() { return SteadyTime(kFuture); }

  // Both saturate at the infinities, and do not leave them.
  friend SteadyTime operator+(SteadyTime time, absl::Duration duration) {
    if (time.nanos_ == kPast || time.nanos_ == kFuture) return time;
    if (duration == absl::InfiniteDuration()) return InfiniteFuture();
    if (duration == -absl::InfiniteDuration()) return InfinitePast();
    const int64_t added = absl::ToInt64Nanoseconds(duration);
    int64_t sum = 0;
    if (__builtin_add_overflow(time.nanos_, added, &sum)) sum = added < 0 ? kPast : kFuture;
    return SteadyTime(sum);
  }
  friend SteadyTime operator-(SteadyTime time, absl::Duration duration) { return time + -duration; }
  friend absl::Duration operator-(SteadyTime later, SteadyTime earlier) {
    return later.SinceStart() - earlier.SinceStart();
  }
  friend constexpr auto operator<=>(SteadyTime, SteadyTime) = default;

  // Since the clock's start, which on Linux is the machine's.
  absl::Duration SinceStart() const {
    if (nanos_ == kPast) return -absl::InfiniteDuration();
    return nanos_ == kFuture ? absl::InfiniteDuration() : absl::Nanoseconds(nanos_);
  }

 private:
  static constexpr int64_t kPast = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kFuture = std::numeric_limits<int64_t>::max();

  constexpr explicit SteadyTime(int64_t nanos) : nanos_(nanos) {}

  // 292 years' worth.
  int64_t nanos_ = kPast;
};

// A timeout for poll: rounded up, so that it does not spin just before `time`; -1 for ever. It ends
// early where that is more than an hour away.
inline int MillisecondsUntil(SteadyTime time) {
  if (time == SteadyTime::InfiniteFuture()) return -1;
  const absl::Duration left = absl::Ceil(time - SteadyTime::Now(), absl::Milliseconds(1));
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left), 0, 3'600'000));
}

// Waits until `condition` holds, or `duration` has passed; returns whether it holds. REQUIRES: the
// thread that makes it true holds the mutex, and notifies.
template <class Condition>
bool WaitAtMost(absl::Duration duration, std::condition_variable& changed,
                std::unique_lock<std::mutex>& lock, Condition condition) {
  // std::chrono has no infinity, and adding to its largest value overflows.
  constexpr absl::Duration kLongest = absl::Hours(24 * 365);
  return changed.wait_for(lock, absl::ToChronoNanoseconds(std::min(duration, kLongest)),
                          std::move(condition));
}

// Something that happens once. Thread-safe.
class SteadyEvent {
 public:
  void Notify() {
    const std::lock_guard<std::mutex> lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  bool HasHappened() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return happened_;
  }
  // Whether it has happened within `duration`.
  bool WaitAtMost(absl::Duration duration) {
    std::unique_lock<std::mutex> lock(mutex_);
    return sessiond::WaitAtMost(duration, changed_, lock, [this] { return happened_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool happened_ = false;
};

}  // namespace sessiond
