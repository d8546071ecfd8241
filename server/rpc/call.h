// gRPC's completion queue ↔ coroutines: the tag handed to gRPC is a suspended coroutine. One call
// is one coroutine:
//
//   accept ──▶ arm the next accept ──▶ parse · handle ──▶ finish
//      ▲ a thread of the queue            ▲ may come back on a lane's thread
#pragma once

#include <grpcpp/grpcpp.h>

#include <coroutine>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "db/steady_time.h"

namespace sessiond::rpc {

// What gRPC hands back when an operation has ended.
class Tag {
 public:
  virtual void Complete(bool ok) = 0;

 protected:
  ~Tag() = default;
};

// Runs a queue until it is shut down and empty.
inline void Drive(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<Tag*>(tag)->Complete(ok);
}

// co_await Completion([&](void* tag) { writer.Finish(…, tag); }) → whether it succeeded.
template <class Start>
class Completion final : public Tag {
 public:
  explicit Completion(Start start) : start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    start_(static_cast<Tag*>(this));
  }
  bool await_resume() const noexcept { return ok_; }
  void Complete(bool ok) override {
    ok_ = ok;
    waiter_.resume();
  }

 private:
  Start start_;
  std::coroutine_handle<> waiter_;
  bool ok_ = false;
};

// What a handler may know of the call beside its request.
struct CallInfo {
  // The authenticated caller; `anonymous` without authentication.
  std::string caller = "anonymous";
  // When nobody waits for the answer any more.
  SteadyTime deadline;
};

}  // namespace sessiond::rpc
