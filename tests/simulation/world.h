// Some daemons, their callers and watches, and one database, for as long as a run lasts: drawn from
// a seed, and with everything going wrong that goes wrong.
#pragma once

#include <cstdint>
#include <string>

namespace sessiond::simulation {

struct RunOptions {
  uint64_t seed = 0;
  // Prints what happens.
  bool trace = false;
};

struct RunResult {
  // Empty: everything that was promised held.
  std::string failure;
  // Of everything that happened.
  uint64_t hash = 0;
  int64_t steps = 0;
  double virtual_days = 0;
  int64_t commits = 0, events = 0, acknowledged = 0, refusals = 0, repetitions = 0, unknown = 0;
  int64_t optimistic = 0, from_memory = 0, conflicts = 0;
  int64_t cuts = 0, crashes = 0, failovers = 0, deliveries = 0, resumes = 0, expired = 0;
};

// Adds all numbers up.
RunResult& operator+=(RunResult& sum, const RunResult& one);

RunResult RunWorld(const RunOptions& options);

}  // namespace sessiond::simulation
