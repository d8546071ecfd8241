// The seed of tests that draw.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>

namespace sessiond {

// SESSIOND_TEST_SEED, else drawn itself. Printed, so that what failed once can be run again.
inline uint64_t TestSeed() {
  const char* given = std::getenv("SESSIOND_TEST_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "SESSIOND_TEST_SEED=" << seed << std::endl;
  return seed;
}

}  // namespace sessiond
