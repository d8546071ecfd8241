#include "server/rpc/memory_guard.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/base/steady_time.h"

namespace sessiond::rpc {

MemoryGuard::MemoryGuard(front_door::Connections& connections, Metrics& metrics,
                         MemoryLimits limits, std::function<std::optional<std::size_t>()> held)
    : connections_(connections),
      metrics_(metrics),
      limits_(limits),
      held_(std::move(held)),
      thread_([this] { Run(); }) {}

MemoryGuard::~MemoryGuard() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  ends_.notify_one();
  thread_.join();
}

void MemoryGuard::Run() {
  for (;;) {
    const std::optional<std::size_t> held = held_();
    if (!held.has_value()) return;
    const absl::Duration pause = Look(*held);
    std::unique_lock<std::mutex> lock(mutex_);
    if (WaitAtMost(pause, ends_, lock, [this] { return ended_; })) return;
  }
}

absl::Duration MemoryGuard::Look(std::size_t held) {
  const std::size_t growth = growth_.At(SteadyTime::Now(), held);
  const bool grows = growth > std::exchange(growth_before_, growth);
  if (growth <= limits_.watched) {
    watching_ = false;
    return limits_.now_and_then;
  }
  if (!std::exchange(watching_, true)) {
    connections_.NoteReceived();
  } else if (growth > limits_.most && grows) {
    Cut(growth);
  }
  return limits_.often;
}

void MemoryGuard::Cut(std::size_t growth) {
  const int cut = connections_.EndHeaviest();
  for (int i = 0; i < cut; ++i) {
    metrics_.ConnectionCut();
    warning_.WarnOfRefusal("front_door",
                           "connections are closed: they make the daemon hold too much",
                           absl::StrCat(growth >> 20, " MiB more than at rest"));
  }
}

}  // namespace sessiond::rpc
