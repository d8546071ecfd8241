// Lets so much go on at a time. Everything else waits for its turn, in the order in which it came.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>

namespace sessiond::rpc {

// Thread-safe.
class Turns {
 public:
  explicit Turns(std::size_t capacity) : free_(capacity) {}

  // Held while it is one's turn. The turns outlive it.
  class Turn {
   public:
    Turn(Turn&& other) noexcept
        : turns_(std::exchange(other.turns_, nullptr)), size_(other.size_) {}
    ~Turn() {
      if (turns_ != nullptr) turns_->Release(size_);
    }

   private:
    friend class Turns;
    Turn(Turns* turns, std::size_t size) : turns_(turns), size_(size) {}

    Turns* turns_;
    const std::size_t size_;
  };

  // co_await turns.Take(size) → the turn, once there is room for so much. It may go on on the
  // thread that made the room. REQUIRES: no more than the capacity.
  auto Take(std::size_t size) { return Waiter(*this, size); }

 private:
  class Waiter {
   public:
    Waiter(Turns& turns, std::size_t size) : turns_(turns), size_(size) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) {
      const std::lock_guard<std::mutex> lock(turns_.mutex_);
      if (turns_.waiting_.empty() && size_ <= turns_.free_) {
        turns_.free_ -= size_;
        return false;
      }
      turns_.waiting_.emplace_back(size_, waiter);
      return true;
    }
    Turn await_resume() const { return Turn(&turns_, size_); }

   private:
    Turns& turns_;
    const std::size_t size_;
  };

  // One thread resumes at a time: a turn that ends meanwhile, as one may that has just begun, is
  // noticed by it, so that no stack grows.
  void Release(std::size_t size) {
    std::unique_lock<std::mutex> lock(mutex_);
    free_ += size;
    if (std::exchange(resuming_, true)) return;
    while (!waiting_.empty() && waiting_.front().first <= free_) {
      const auto [next, waiter] = waiting_.front();
      waiting_.pop_front();
      free_ -= next;
      lock.unlock();
      waiter.resume();
      lock.lock();
    }
    resuming_ = false;
  }

  std::mutex mutex_;
  // Guarded by the mutex.
  std::size_t free_;
  std::deque<std::pair<std::size_t, std::coroutine_handle<>>> waiting_;
  bool resuming_ = false;
};

}  // namespace sessiond::rpc
