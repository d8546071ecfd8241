// Everything that would be a thread is a fiber here, and one at a time runs, until it waits: for a
// time, or for a condition. Then the scheduler draws the next one among all that can go on; if none
// can, virtual time moves to the next that something waits for. All that is drawn comes from one
// seed, and nothing depends on real time, threads, addresses or the order of hash tables: a seed
// is a run.
//
// Each fiber runs on a machine, whose steady clock is what SteadyTime::Now shows meanwhile
// (virtual_time.h): clocks of different machines differ, drift, and stop while one is suspended.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace sessiond::simulation {

// Nanoseconds since the beginning of the run.
using Instant = int64_t;
inline constexpr Instant kNever = std::numeric_limits<Instant>::max();

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Bits() { return engine_(); }
  // 0 … below - 1.
  int Below(int below) { return static_cast<int>(engine_() % static_cast<uint64_t>(below)); }
  bool OneIn(int times) { return Below(times) == 0; }
  // From `least` to `most`; small ones as likely as large ones.
  absl::Duration Between(absl::Duration least, absl::Duration most);
  template <class T>
  const T& Of(const std::vector<T>& all) {
    return all[Below(static_cast<int>(all.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

// Whose clock a fiber sees.
struct Machine {
  Instant clock_begins = 0;
  // Parts per million by which its clock is fast.
  int64_t drift = 0;
  // It is suspended until then: none of its fibers runs.
  Instant suspended_until = 0;
  // For how long its clock has stood still in all.
  int64_t stood_still = 0;

  int64_t SteadyAt(Instant now) const {
    return clock_begins + now - stood_still + now / 1'000'000 * drift;
  }
};

class Scheduler {
 public:
  explicit Scheduler(uint64_t seed);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;

  // `machine` outlives the fiber.
  void Spawn(const Machine& machine, std::function<void()> body);
  // Until no fiber is left, or one has failed.
  void Run();

  // ---- On a fiber.

  // Whether the condition came true before `until`. Conditions are checked often.
  bool Await(std::function<bool()> condition, Instant until = kNever);
  void Sleep(absl::Duration duration);
  // Lets others go first, perhaps.
  void Yield() { Sleep(absl::ZeroDuration()); }

  // ---- Anywhere.

  Instant now() const { return now_; }
  // How many steps were made: each has one of its own.
  int64_t step() const { return steps_; }
  // All clocks, and all that waits: days pass at once.
  void Pass(absl::Duration duration) { now_ += absl::ToInt64Nanoseconds(duration); }
  Random& random() { return random_; }

  // What must never happen has happened: the run ends, and this is why. The first reason stays.
  void Fail(const std::string& why);
  const std::string& failure() const { return failure_; }
  bool failed() const { return !failure_.empty(); }
  // Goes into the hash by which two runs are compared, and into the trace, if one is wanted.
  void Trace(absl::string_view what);
  uint64_t hash() const { return hash_; }
  void PrintTrace() { prints_ = true; }
  bool prints() const { return prints_; }

 private:
  struct Fiber {
    ucontext_t context;
    void* stack = nullptr;
    const Machine* machine = nullptr;
    std::function<void()> body;
    std::function<bool()> condition;  // None: it only waits for a time.
    Instant until = 0;
    bool came_true = false;
    bool ended = false;
    void* fake_stack = nullptr;  // AddressSanitizer's.
  };

  static void Enter(unsigned high, unsigned low);
  void SwitchTo(Fiber& fiber);
  void SwitchBack(Fiber& fiber);

  Random random_;
  Instant now_ = 0;
  int64_t steps_ = 0;
  uint64_t hash_ = 14695981039346656037u;  // FNV-1a
  bool prints_ = false;
  std::string failure_;
  std::vector<std::unique_ptr<Fiber>> fibers_;  // In the order of their beginnings.
  Fiber* running_ = nullptr;
  ucontext_t main_;
  void* main_fake_stack_ = nullptr;
};

}  // namespace sessiond::simulation
