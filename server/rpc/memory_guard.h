// Bounds what peers make the daemon hold, whatever they do. Requests and replies are counted where
// they come and go (peer_waits.h, replies.h); but gRPC goes on reading while there is something to
// read, and until it has done so nobody is asked. So a thread of its own looks at the memory that
// the queues' threads have allocated. When that has grown too much, it closes connections, those
// first that have sent most while it grew: their calls are UNAVAILABLE, and can be repeated.
//
//   growth   0 ─────────── watched ─────────── most
//            a look now    looks more often,   connections are closed
//            and then      notes who sends     until it shrinks
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "server/front_door/connections.h"
#include "server/ops/metrics.h"
#include "server/ops/rate_limited_warning.h"
#include "server/rpc/allocated.h"
#include "server/rpc/memory_growth.h"

namespace sessiond::rpc {

struct MemoryLimits {
  // By how many bytes more than at rest.
  std::size_t watched = 32 << 20;
  std::size_t most = 80 << 20;
  // Between two looks, before and after it is watched; a flood brings 20 MiB in one of the first.
  absl::Duration now_and_then = absl::Milliseconds(20);
  absl::Duration often = absl::Milliseconds(5);
};

class MemoryGuard {
 public:
  // `held`: how many bytes, at present; nothing, and so no guard, if that is not known. REQUIRES:
  // connections and metrics outlive the guard.
  MemoryGuard(front_door::Connections& connections, Metrics& metrics, MemoryLimits limits = {},
              std::function<std::optional<std::size_t>()> held = CountedBytes);
  ~MemoryGuard();
  MemoryGuard(const MemoryGuard&) = delete;

 private:
  void Run();
  // Returns how long it is until the next one.
  absl::Duration Look(std::size_t held);
  void Cut(std::size_t growth);

  front_door::Connections& connections_;
  Metrics& metrics_;
  const MemoryLimits limits_;
  const std::function<std::optional<std::size_t>()> held_;
  std::mutex mutex_;
  std::condition_variable ends_;
  bool ended_ = false;  // Guarded by the mutex.

  // The thread's only.
  MemoryGrowth growth_;
  bool watching_ = false;
  // At the last look.
  std::size_t growth_before_ = 0;
  RateLimitedWarning warning_;

  std::thread thread_;
};

}  // namespace sessiond::rpc
