// The monotonic clock as the fiber at hand is to see it: this file's clock_gettime comes before the
// C library's. While none is set, real time.
#pragma once

#include <cstdint>

namespace sessiond::simulation {

struct VirtualTime {
  static void Set(int64_t nanos);
  static void Reset();
};

}  // namespace sessiond::simulation
