// The request of a unary call by gRPC. The call is accepted at its headers, so that whoever is not
// let in has none of it read; then its one message is read, for so long.
//
//   headers ─▶ admitted ─▶ message ─▶ end of the client's side ─▶ handled
//                            │ too late · memory runs short · another message · none
//                            ▼
//                          refused
#pragma once

#include <grpcpp/grpcpp.h>

#include <coroutine>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/call.h"
#include "server/rpc/peer_waits.h"
#include "server/rpc/raw_service.h"

namespace sessiond::rpc {

// Whether a request that has been arriving for `waited` is given up. DEADLINE_EXCEEDED: it takes
// too long. UNAVAILABLE (DRAINING). RESOURCE_EXHAUSTED (OVERLOADED): memory runs short.
absl::Status CheckArrival(absl::Duration waited, std::size_t grown, bool draining,
                          const Patience& patience);

// Lives in the frame of its call's coroutine. All of it is for the queue's thread.
class GrpcBody final : public Tag, public PeerWaits::Wait {
 public:
  // `draining`: whether the daemon drains. All outlive the body.
  GrpcBody(ByteStream& wire, PeerWaits& waits, const std::function<bool()>& draining)
      : wire_(wire), waits_(waits), draining_(draining) {}

  // co_await body: until it is there, or refused. INVALID_ARGUMENT: there are two messages; or one
  // of CheckArrival's.
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    waits_.Begin(*this);
    Read(bytes_);
  }
  absl::Status await_resume() const { return refused_; }

  // The client's side has ended without a message: because it has none, or because the call is
  // over.
  bool missing() const { return !heard_; }
  grpc::ByteBuffer& bytes() { return bytes_; }

  // co_await body.Settled(): until gRPC no longer needs the body. REQUIRES: the call is finished.
  auto Settled() {
    struct Awaiter {
      GrpcBody& body;
      bool await_ready() const noexcept { return !body.reading_; }
      void await_suspend(std::coroutine_handle<> waiter) { body.waiter_ = waiter; }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

  void Complete(bool ok) override;

 private:
  void Look(absl::Duration waited, std::size_t grown) override;

  void Read(grpc::ByteBuffer& into) {
    reading_ = true;
    wire_.Read(&into, static_cast<Tag*>(this));
  }
  void Resume() { std::exchange(waiter_, nullptr).resume(); }
  void End() {
    waits_.End(*this);
    Resume();
  }

  ByteStream& wire_;
  PeerWaits& waits_;
  const std::function<bool()>& draining_;
  std::coroutine_handle<> waiter_;
  grpc::ByteBuffer bytes_;
  // A second message, of which there should be none.
  grpc::ByteBuffer more_;
  bool heard_ = false;
  bool reading_ = false;
  int looks_ = 0;
  absl::Status refused_;
};

}  // namespace sessiond::rpc
