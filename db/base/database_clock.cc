#include "db/base/database_clock.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace sessiond::db {
namespace {

// Long enough to contain some quick answers, short enough for clocks that drift or are set.
constexpr absl::Duration kSpan = absl::Seconds(15);

}  // namespace

void DatabaseClock::Read(absl::Time database_time, SteadyTime now) {
  absl::MutexLock lock(&mutex_);
  if (now - since_ > kSpan) {
    origin_before_ = now - since_ > 2 * kSpan ? absl::InfinitePast() : origin_;
    origin_ = absl::InfinitePast();
    since_ = now;
  }
  // An answer that took longer gives an earlier origin.
  origin_ = std::max(origin_, database_time - now.SinceStart());
  origin_known_ = std::max(origin_, origin_before_);
}

void DatabaseClock::Forget() {
  absl::MutexLock lock(&mutex_);
  origin_ = origin_before_ = absl::InfinitePast();
  since_ = SteadyTime::InfinitePast();
}

std::optional<absl::Time> DatabaseClock::Now(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  if (now - since_ > 2 * kSpan) return std::nullopt;
  return absl::FromUnixMicros(
      absl::ToUnixMicros(std::max(origin_, origin_before_) + now.SinceStart()));
}

absl::Time DatabaseClock::Estimate(SteadyTime now) const {
  absl::MutexLock lock(&mutex_);
  return origin_known_ == absl::InfinitePast() ? absl::Now() : origin_known_ + now.SinceStart();
}

}  // namespace sessiond::db
