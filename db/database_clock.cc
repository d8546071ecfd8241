#include "db/database_clock.h"

#include <algorithm>
#include <chrono>

namespace sessiond::db {
namespace {

// Long enough to have some quick answers in it, short enough for clocks that drift or are set.
constexpr absl::Duration kSpan = absl::Seconds(15);

}  // namespace

absl::Duration DatabaseClock::SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

void DatabaseClock::Read(absl::Time database_time, absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  if (now - since_ > kSpan) {
    origin_before_ = now - since_ > 2 * kSpan ? absl::InfinitePast() : origin_;
    origin_ = absl::InfinitePast();
    since_ = now;
  }
  // What was longer under way looks earlier than it is.
  origin_ = std::max(origin_, database_time - now);
}

void DatabaseClock::Forget() {
  absl::MutexLock lock(&mutex_);
  origin_ = origin_before_ = absl::InfinitePast();
  since_ = -absl::InfiniteDuration();
}

std::optional<absl::Time> DatabaseClock::Now(absl::Duration now) const {
  absl::MutexLock lock(&mutex_);
  if (now - since_ > 2 * kSpan) return std::nullopt;
  return absl::FromUnixMicros(absl::ToUnixMicros(std::max(origin_, origin_before_) + now));
}

}  // namespace sessiond::db
