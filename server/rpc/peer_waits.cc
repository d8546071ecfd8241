#include "server/rpc/peer_waits.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>

#include <vector>

#include "server/rpc/allocated.h"
#include "server/rpc/call.h"
#include "server/rpc/call_queue.h"

namespace sessiond::rpc {

void PeerWaits::Begin(Wait& wait) {
  wait.since_ = SteadyTime::Now();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wait.older_ = newest_;
    wait.newer_ = nullptr;
    (newest_ == nullptr ? oldest_ : newest_->newer_) = &wait;
    newest_ = &wait;
    if (ticking_) return;
    ticking_ = true;
  }
  Tick();
}

void PeerWaits::End(Wait& wait) {
  const std::lock_guard<std::mutex> lock(mutex_);
  (wait.older_ == nullptr ? oldest_ : wait.older_->newer_) = wait.newer_;
  (wait.newer_ == nullptr ? newest_ : wait.newer_->older_) = wait.older_;
}

Detached PeerWaits::Tick() {
  const CallQueue::Use use(queue_);
  // What is allocated now is what it is before the peers that are waited for have sent anything.
  if (const auto allocated = CountedBytes(); allocated.has_value())
    growth_.At(SteadyTime::Now(), *allocated);
  grpc::Alarm alarm;
  do {
    Completion later([&](void* tag) {
      const gpr_timespec pause =
          gpr_time_from_micros(absl::ToInt64Microseconds(kSlow), GPR_TIMESPAN);
      alarm.Set(queue_.get(), gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), pause), tag);
    });
    co_await later;
  } while (LookAtAll());
}

bool PeerWaits::LookAtAll() {
  const SteadyTime now = SteadyTime::Now();
  const auto allocated = CountedBytes();
  const std::size_t grown = allocated.has_value() ? growth_.At(now, *allocated) : 0;
  std::vector<Wait*> slow;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (oldest_ == nullptr) {
      ticking_ = false;
      return false;
    }
    for (Wait* each = oldest_; each != nullptr && now - each->since_ >= kSlow; each = each->newer_)
      slow.push_back(each);
  }
  // Without the lock, because they may end. They end on this thread only, and each by itself.
  for (Wait* each : slow) each->Look(now - each->since_, grown);
  return true;
}

}  // namespace sessiond::rpc
