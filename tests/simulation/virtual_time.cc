#include "tests/simulation/virtual_time.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace sessiond::simulation {
namespace {

// -1: real time.
int64_t steady_nanos = -1;

}  // namespace

void VirtualTime::Set(int64_t nanos) { steady_nanos = nanos; }
void VirtualTime::Reset() { steady_nanos = -1; }

}  // namespace sessiond::simulation

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int64_t nanos = sessiond::simulation::steady_nanos;
  if (clock != CLOCK_MONOTONIC || nanos < 0)
    return static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  time->tv_sec = nanos / 1'000'000'000;
  time->tv_nsec = nanos % 1'000'000'000;
  return 0;
}
