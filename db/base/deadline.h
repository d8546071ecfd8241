// How long a caller waits for an answer: until a time, or until it goes before that. What was not
// sent to the database by then is never sent.
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

// Becomes true, on any thread, when the caller has gone; null if never reported. Outlives what
// waits.
using CallerLeft = const std::atomic<bool>*;

struct Deadline {
  SteadyTime time = SteadyTime::InfiniteFuture();
  CallerLeft left = nullptr;

  Deadline() = default;
  // Most have only a time.
  Deadline(SteadyTime until, CallerLeft caller_left = nullptr) : time(until), left(caller_left) {}

  // Why the caller no longer waits; OK while it does.
  absl::Status Check(SteadyTime now) const {
    if (time <= now) {
      return absl::DeadlineExceededError("The deadline passed while the call waited for its turn.");
    }
    if (left != nullptr && left->load(std::memory_order_relaxed))
      return absl::CancelledError("The caller left while the call waited for its turn.");
    return absl::OkStatus();
  }
};

}  // namespace sessiond::db
