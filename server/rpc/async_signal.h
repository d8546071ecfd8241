// A notification for a stream: setting the signal wakes the stream's coroutine, which then checks
// what has changed. Signals that come while no coroutine waits count as one.
#pragma once

#include <coroutine>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sessiond::rpc {

class AsyncSignal {
 public:
  // Resumes the waiter, on this thread. The signal may be gone when this returns.
  void Set() {
    std::coroutine_handle<> waiter;
    {
      absl::MutexLock lock(&mutex_);
      waiter = std::exchange(waiter_, nullptr);
      set_ = waiter == nullptr;
    }
    if (waiter) waiter.resume();
  }

  // co_await signal.Wait(): returns at once if it was set since the last time. One waiter at a
  // time.
  auto Wait() { return Waiter(*this); }

 private:
  class Waiter {
   public:
    explicit Waiter(AsyncSignal& signal) : signal_(signal) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) {
      absl::MutexLock lock(&signal_.mutex_);
      if (std::exchange(signal_.set_, false)) return false;
      signal_.waiter_ = waiter;
      return true;
    }
    void await_resume() const noexcept {}

   private:
    AsyncSignal& signal_;
  };

  absl::Mutex mutex_;
  bool set_ ABSL_GUARDED_BY(mutex_) = false;
  std::coroutine_handle<> waiter_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::rpc
