// By how much the memory that is held for peers exceeds what it is at rest. At rest is the least of
// the last minute: what a peer may make us hold for a while is bounded by shorter times than that,
// and what stays, such as connections, is counted elsewhere.
#pragma once

#include <algorithm>
#include <cstddef>

#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::rpc {

// A value without a clock. Times never go back.
class MemoryGrowth {
 public:
  // The growth, now that so much is allocated. Of what has not been looked at for a minute, nothing
  // is known: then this is the rest.
  std::size_t At(SteadyTime now, std::size_t allocated) {
    if (now >= half_end_) {
      least_before_ = now >= half_end_ + kHalf ? allocated : least_;
      least_ = allocated;
      half_end_ = now + kHalf;
    }
    least_ = std::min(least_, allocated);
    return allocated - std::min(least_, least_before_);
  }

 private:
  static constexpr absl::Duration kHalf = absl::Seconds(30);

  SteadyTime half_end_;
  std::size_t least_ = 0;
  std::size_t least_before_ = 0;
};

}  // namespace sessiond::rpc
