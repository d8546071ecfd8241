// Coroutines: an Awaitable yields one value to its single awaiter, a Detached owns itself.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"

namespace sessiond {

// What a coroutine yields: a value, or only its end.
template <class T>
struct Yielded {
  std::optional<T> value;

  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T Take() { return *std::move(value); }
};
template <>
struct Yielded<void> {
  void return_void() {}
  void Take() {}
};

// A lazily started coroutine. The frame belongs to the Awaitable; awaiting it starts it, and
// resumes the awaiter when it has its value, on whichever thread produces it. Where it
// takes temporaries, name it first and await it on the next line: g++ 12 destroys temporaries in
// such an expression too early, or twice (https://gcc.gnu.org/bugzilla/show_bug.cgi?id=99576).
template <class T>
class [[nodiscard]] Awaitable {
 public:
  struct promise_type : Yielded<T> {
    std::coroutine_handle<> awaiter;

    // Switches to the awaiter without growing the stack.
    struct Finish {
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) const noexcept {
        return h.promise().awaiter;
      }
      void await_resume() const noexcept {}
    };

    Awaitable get_return_object() {
      return Awaitable(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Finish final_suspend() noexcept { return {}; }
    // An exception here is our own bug.
    void unhandled_exception() { std::terminate(); }
  };

  Awaitable(Awaitable&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Awaitable& operator=(Awaitable&&) = delete;
  ~Awaitable() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) {
    handle_.promise().awaiter = awaiter;
    return handle_;
  }
  T await_resume() { return handle_.promise().Take(); }

 private:
  explicit Awaitable(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
};

// A value, or the reason why there is none.
template <class T>
using Answer = Awaitable<absl::StatusOr<T>>;

// Starts at once and frees itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

// For threads that may block: runs the task, and blocks until it has its value.
template <class T>
T Wait(Awaitable<T> task) {
  std::optional<T> value;
  absl::Notification done;
  const auto run = [](Awaitable<T> awaited, std::optional<T>* to,
                      absl::Notification* then) -> Detached {
    to->emplace(co_await awaited);
    then->Notify();
  };
  run(std::move(task), &value, &done);
  done.WaitForNotification();
  return *std::move(value);
}

// Runs the task and ignores its value.
template <class T>
Detached Forget(Awaitable<T> task) {
  co_await task;
}

}  // namespace sessiond
