// The core of sessiond, run through years of virtual time in a minute: two to four daemons, a model
// of the database, and everything that goes wrong, all drawn from a seed (docs/simulation.md).
//
//   sessiond_simulation                     many seeds
//   sessiond_simulation --seed=4711         this one, with all that happens
//   sessiond_simulation --seeds=100000      so many, from --first=1 on
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/simulation/world.h"

namespace sessiond::simulation {
namespace {

// About a minute in a release build on one core, and no longer in the others.
#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSeeds = 200;
#elif !defined(NDEBUG)
constexpr uint64_t kSeeds = 300;
#else
constexpr uint64_t kSeeds = 3000;
#endif

std::optional<uint64_t> only_seed;
uint64_t first_seed = 1, seeds = kSeeds;

TEST(Simulation, WhatIsPromisedHoldsWithEverySeed) {
  if (only_seed.has_value()) {
    first_seed = *only_seed;
    seeds = 1;
  }
  RunResult sum;
  const auto begun = std::chrono::steady_clock::now();
  for (uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    const RunResult result = RunWorld({.seed = seed, .trace = only_seed.has_value()});
    ASSERT_EQ(result.failure, "") << "replay it with --seed=" << seed;
    sum += result;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::cout << seeds << " seeds, " << sum.steps << " steps, "
            << static_cast<int64_t>(sum.virtual_days / 365) << " years in " << took.count()
            << " s: " << sum.commits << " commits of " << sum.events << " events; "
            << sum.acknowledged << " acknowledged, " << sum.repetitions << " of them repetitions, "
            << sum.refusals << " refused, " << sum.unknown << " unknown; " << sum.optimistic
            << " groups optimistic, " << sum.from_memory << " from memory, " << sum.conflicts
            << " in conflict; " << sum.cuts << " connections cut, " << sum.crashes
            << " daemons killed, " << sum.failovers << " databases; " << sum.deliveries
            << " changes delivered, " << sum.resumes << " resumes, " << sum.expired
            << " tokens expired\n";
  // It would prove little if hardly anything happened.
  if (seeds < 100) return;
  const auto often = static_cast<int64_t>(seeds);
  for (const int64_t happened :
       {sum.commits / 10, sum.acknowledged / 10, sum.refusals / 5, sum.unknown, sum.cuts,
        sum.crashes, sum.failovers, sum.deliveries / 10, sum.resumes}) {
    EXPECT_GT(happened, often / 2);
  }
  for (const int64_t happened :
       {sum.repetitions, sum.expired, sum.from_memory, sum.optimistic, sum.conflicts}) {
    EXPECT_GT(happened, often / 50);
  }
}

TEST(Simulation, ASeedIsARun) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const RunResult once = RunWorld({.seed = seed}), again = RunWorld({.seed = seed});
    EXPECT_EQ(once.hash, again.hash) << seed;
    EXPECT_EQ(once.steps, again.steps) << seed;
  }
  EXPECT_NE(RunWorld({.seed = 1}).hash, RunWorld({.seed = 2}).hash);
}

// False: it is another flag.
bool TakeFlag(absl::string_view argument) {
  uint64_t number = 0;
  const auto is = [&](absl::string_view name) {
    absl::string_view rest = argument;
    return absl::ConsumePrefix(&rest, name) && absl::SimpleAtoi(rest, &number);
  };
  if (is("--seed=")) {
    only_seed = number;
  } else if (is("--seeds=")) {
    seeds = number;
  } else if (is("--first=")) {
    first_seed = number;
  } else {
    return false;
  }
  return true;
}

}  // namespace
}  // namespace sessiond::simulation

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  spdlog::set_level(spdlog::level::off);
  if (const char* seed = std::getenv("SESSIOND_TEST_SEED"); seed != nullptr)
    sessiond::simulation::TakeFlag(absl::StrCat("--seed=", seed));
  for (int i = 1; i < argc; ++i) {
    if (sessiond::simulation::TakeFlag(argv[i])) continue;
    std::cerr << "sessiond_simulation knows --seed=N, --seeds=N, --first=N and GoogleTest's flags, "
              << "not " << argv[i] << ".\n";
    return 2;
  }
  return RUN_ALL_TESTS();
}
