// The shim that steps the wall clock: that it does, for what asks and for what waits, and that it
// leaves the monotonic clock alone. What is tested with it would prove nothing otherwise.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/stepped_clock.h"

namespace sessiond {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

// How long a wait took by the monotonic clock, when the wall clock was stepped by so much half a
// second after its begin: by then it has begun on a machine that has other things to do, too.
steady_clock::duration Waited(SteppedClock& clock, absl::Duration step,
                              const std::function<void()>& wait) {
  const auto begin = steady_clock::now();
  std::thread stepping([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    clock.Step(step);
  });
  wait();
  stepping.join();
  const auto waited = steady_clock::now() - begin;
  clock.Step(absl::ZeroDuration());
  return waited;
}

// Run by the test below, under the shim.
TEST(ClockShim, DISABLED_UnderTheShim) {
  SteppedClock clock(std::getenv("CLOCK_SHIM_FILE"));
  const auto wall = system_clock::now();
  const auto steady = steady_clock::now();
  clock.Step(absl::Hours(-1));
  EXPECT_NEAR(std::chrono::duration<double>(system_clock::now() - wall).count(), -3600, 60);
  EXPECT_NEAR(absl::ToDoubleSeconds(absl::Now() - absl::FromChrono(wall)), -3600, 60);
  EXPECT_NEAR(static_cast<double>(time(nullptr) - system_clock::to_time_t(wall)), -3600, 60);
  EXPECT_LT(steady_clock::now() - steady, std::chrono::minutes(1));
  clock.Step(absl::ZeroDuration());

  using std::chrono::milliseconds;
  std::mutex mutex;
  std::condition_variable never;
  absl::Mutex absl_mutex;
  milliseconds length(5'000);
  const auto wall_condition = [&] {
    std::unique_lock lock(mutex);
    const auto deadline = system_clock::now() + length;
    while (never.wait_until(lock, deadline) != std::cv_status::timeout) continue;
  };
  bool no = false;
  const auto absl_condition = [&] {
    absl::MutexLock lock(&absl_mutex);
    absl_mutex.AwaitWithTimeout(absl::Condition(&no), absl::FromChrono(length));
  };
  const auto steady_condition = [&] {
    std::unique_lock lock(mutex);
    never.wait_for(lock, length, [] { return false; });
  };
  // The step goes back by a second: what waits for the wall clock waits for a second longer.
  EXPECT_GT(Waited(clock, absl::Seconds(-1), wall_condition), milliseconds(5'900));
  EXPECT_GT(Waited(clock, absl::Seconds(-1), absl_condition), milliseconds(5'900));
  EXPECT_LT(Waited(clock, absl::Minutes(-1), steady_condition), milliseconds(30'000));
  // And forward: it ends at once.
  EXPECT_GT(Waited(clock, absl::Hours(1), steady_condition), milliseconds(4'990));
  length = milliseconds(60'000);
  EXPECT_LT(Waited(clock, absl::Hours(1), wall_condition), milliseconds(30'000));
  EXPECT_LT(Waited(clock, absl::Hours(1), absl_condition), milliseconds(30'000));
}

TEST(ClockShim, StepsTheWallClockAndWhoWaitsForItAlone) {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  ASSERT_GT(length, 0);
  SteppedClock clock;
  const std::string command =
      absl::StrCat(clock.Environment(), " ", std::string(self, static_cast<std::size_t>(length)),
                   " --gtest_also_run_disabled_tests --gtest_filter='*UnderTheShim'");
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace sessiond
