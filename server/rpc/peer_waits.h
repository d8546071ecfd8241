// What calls of one queue wait for from their peers: the rest of a request, or room for a reply.
// While anything is waited for, each wait is looked at every 50 ms, and may end itself; otherwise
// nothing happens.
//
//   Begin ─▶ oldest … newest ─▶ End        any thread begins, the queue's thread ends
//              ▲ a tick, on the queue's thread: Look at those that have waited for 50 ms
#pragma once

#include <cstddef>
#include <mutex>

#include "absl/time/time.h"
#include "db/base/coroutine.h"
#include "db/base/steady_time.h"
#include "server/rpc/memory_growth.h"

namespace sessiond::rpc {

class CallQueue;

// How long peers are waited for.
struct Patience {
  // For a whole request, from its headers to its end.
  absl::Duration request = absl::Seconds(10);
  // The same while the daemon drains: what is on its way comes.
  absl::Duration request_in_drain = absl::Seconds(1);
  // For a reply that its peer leaves unread.
  absl::Duration reply = absl::Seconds(30);
  // The same of a unary call, while so much is unread that others are refused.
  absl::Duration reply_when_scarce = absl::Seconds(3);
  // When so many bytes more than at rest are held for peers, requests that take their time go.
  std::size_t growth_max = 64 << 20;
};

class PeerWaits {
 public:
  // Below this nobody waits: whoever can send a request at once, or take a reply, has done so.
  static constexpr absl::Duration kSlow = absl::Milliseconds(50);

  // One wait; lives in the frame of its call.
  class Wait {
   public:
    Wait() = default;
    Wait(const Wait&) = delete;

   protected:
    ~Wait() = default;
    // It has lasted for `waited`, at least kSlow, and so many bytes more than at rest are held for
    // peers, 0 if that is not known. May end this wait, and destroy it, but no other. On the
    // queue's thread.
    virtual void Look(absl::Duration waited, std::size_t grown) = 0;

   private:
    friend class PeerWaits;
    SteadyTime since_;
    Wait* older_ = nullptr;
    Wait* newer_ = nullptr;
  };

  // A part of its queue.
  PeerWaits(CallQueue& queue, Patience patience) : queue_(queue), patience_(patience) {}

  const Patience& patience() const { return patience_; }

  // From now on. REQUIRES: the caller uses the queue (CallQueue::Use).
  void Begin(Wait& wait);
  // REQUIRES: it has begun; on the queue's thread.
  void End(Wait& wait);

 private:
  Detached Tick();
  // False: nothing waits, and the ticks have ended.
  bool LookAtAll();

  CallQueue& queue_;
  const Patience patience_;
  std::mutex mutex_;
  // Guarded by the mutex.
  Wait* oldest_ = nullptr;
  Wait* newest_ = nullptr;
  bool ticking_ = false;
  // The ticks'; one after the other.
  MemoryGrowth growth_;
};

}  // namespace sessiond::rpc
