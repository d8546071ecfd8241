// A thread for what would keep a completion queue's from its calls: coroutines go on there, one
// after the other, in the order in which they came.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <mutex>
#include <thread>

namespace sessiond::rpc {

// Thread-safe.
class Worker {
 public:
  Worker() : thread_([this] { Run(); }) {}
  // REQUIRES: no coroutine waits to go on here.
  ~Worker() {
    Push(nullptr);
    thread_.join();
  }
  Worker(const Worker&) = delete;

  // co_await worker.Enter(): goes on on the worker's thread.
  auto Enter() {
    struct Awaiter {
      Worker& worker;
      explicit Awaiter(Worker& entered) : worker(entered) {}
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiter) { worker.Push(waiter); }
      void await_resume() const noexcept {}
    };
    return Awaiter(*this);
  }

 private:
  void Push(std::coroutine_handle<> waiter) {
    // Notified with the lock: once it is pushed, the coroutine may end, and the worker with it.
    const std::lock_guard<std::mutex> lock(mutex_);
    waiters_.push_back(waiter);
    pushed_.notify_one();
  }

  void Run() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      pushed_.wait(lock, [this] { return !waiters_.empty(); });
      const std::coroutine_handle<> waiter = waiters_.front();
      waiters_.pop_front();
      lock.unlock();
      if (!waiter) return;
      waiter.resume();
    }
  }

  std::mutex mutex_;
  std::condition_variable pushed_;
  // Guarded by the mutex. Null: the thread ends.
  std::deque<std::coroutine_handle<>> waiters_;
  std::thread thread_;
};

}  // namespace sessiond::rpc
