// Which session a call is about: evenly, as people do, or all on one.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace sessiond::bench {

using Random = std::mt19937_64;

enum class Keys {
  // Each as likely as any other.
  kUniform,
  // By Zipf's law with the exponent 0.99, as YCSB does it: a few are wanted all the time, most
  // hardly ever. Which ones is scrambled, so that the popular ones are not neighbours.
  kZipf,
  // Always the same one.
  kHot,
};

// `uniform`, `zipf` or `hot`; throws std::runtime_error at anything else.
Keys ParseKeys(const std::string& name);

// Draws from 0, …, population - 1, in constant time whatever the population. REQUIRES: there is
// somebody to draw.
std::uint64_t Draw(Keys keys, std::uint64_t population, Random& random);

}  // namespace sessiond::bench
