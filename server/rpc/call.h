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

namespace sessiond::rpc {

// What gRPC hands back.
struct Tag {
  std::coroutine_handle<> waiter;
  bool ok = false;
};

// Runs a queue until it is shut down and empty.
inline void Drive(grpc::CompletionQueue& queue) {
  void* raw = nullptr;
  bool ok = false;
  while (queue.Next(&raw, &ok)) {
    auto* tag = static_cast<Tag*>(raw);
    tag->ok = ok;
    tag->waiter.resume();
  }
}

// co_await Completion([&](void* tag) { writer.Finish(…, tag); }) → whether it succeeded.
template <class Start>
class Completion : Tag {
 public:
  explicit Completion(Start start) : start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    waiter = handle;
    start_(static_cast<Tag*>(this));
  }
  bool await_resume() const noexcept { return ok; }

 private:
  Start start_;
};

// What a handler may know of the call beside its request.
struct CallInfo {
  // The authenticated caller; `anonymous` without authentication.
  std::string caller = "anonymous";
  // When nobody waits for the answer any more.
  absl::Time deadline;
};

}  // namespace sessiond::rpc
