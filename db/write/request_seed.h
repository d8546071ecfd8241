// Where the ids that a command draws come from: they are its request's, whichever daemon carries it
// out.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace sessiond::db {

// Command::seed.
inline std::array<uint64_t, 2> SeedOf(absl::string_view request_key) {
  std::array<uint64_t, 2> seed = {};
  std::memcpy(seed.data(), request_key.data(), std::min(sizeof(seed), request_key.size()));
  return seed;
}

}  // namespace sessiond::db
