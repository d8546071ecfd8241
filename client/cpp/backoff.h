// How long to wait before a retry.
#pragma once

#include <algorithm>
#include <random>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "sessiond/refusal.h"

namespace sessiond {

// Pauses that double, each drawn from its upper half, so that many clients do not return at the
// same time.
class Backoff {
 public:
  Backoff(absl::Duration initial, absl::Duration max)
      : initial_(initial), max_(max), next_(initial) {}

  // The pause after this error; not shorter than its RetryInfo says.
  absl::Duration Next(const absl::Status& why) {
    const absl::Duration pause = next_ * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
    next_ = std::min(next_ * 2, max_);
    return std::max(pause, GetRetryAfter(why).value_or(absl::ZeroDuration()));
  }
  // Call this after a success.
  void Reset() { next_ = initial_; }

 private:
  const absl::Duration initial_, max_;
  absl::Duration next_;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace sessiond
