// gRPC's completion queue ↔ coroutines: the tag given to gRPC is a suspended coroutine. One call is
// one coroutine:
//
//   accept ──▶ arm the next accept ──▶ parse · handle ──▶ finish
//      ▲ a thread of the queue            ▲ may come back on a lane's thread
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <coroutine>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "db/base/asker.h"
#include "server/access/principal.h"

namespace sessiond::rpc {

// What gRPC returns when an operation has ended.
class Tag {
 public:
  virtual void Complete(bool ok) = 0;

 protected:
  ~Tag() = default;
};

// Drives a queue until it is shut down and empty.
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

// Reports when a call is over: finished, cancelled by its client, or past its deadline. Lives in
// the frame of the call's coroutine. gRPC notices in any case; the notification costs one turn of
// the queue.
class CallOver final : public Tag {
 public:
  // REQUIRES: the call was not accepted yet.
  explicit CallOver(grpc::ServerContext& context) {
    context.AsyncNotifyWhenDone(static_cast<Tag*>(this));
  }

  // Readable on any thread, while the call lives.
  const std::atomic<bool>* flag() const { return &over_; }

  // co_await over: returns after gRPC's notification. REQUIRES: the call was accepted; on the
  // queue's thread.
  bool await_ready() const noexcept { return over_; }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  void await_resume() const noexcept {}

  void Complete(bool) override {
    over_ = true;
    if (waiter_) waiter_.resume();
  }

 private:
  std::atomic<bool> over_ = false;
  std::coroutine_handle<> waiter_;
};

// What a handler may know about the call, apart from its request.
struct CallInfo {
  // Who calls. Null, and so whoever it is may do everything, in servers without a gate.
  access::PrincipalPtr principal;
  // When the caller stops waiting for the reply, and what it may see.
  db::Asker asker;

  void TakePrincipal(access::PrincipalPtr who) {
    if (who != nullptr) asker.scope = who->scope;
    principal = std::move(who);
  }
  std::string caller() const { return principal == nullptr ? "anonymous" : principal->name; }
};

}  // namespace sessiond::rpc
