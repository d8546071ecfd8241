// What all calls together hold of replies that are being sent: it is bounded, and so is the time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstddef>

#include "absl/time/time.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/peer_waits.h"

namespace sessiond::rpc {

// Thread-safe.
class Replies {
 public:
  explicit Replies(std::size_t bytes_max)
      : for_small_(bytes_max / 2), budget_(bytes_max + for_small_) {}

  // For a reply of so many bytes, until it is written. Nothing, which is false: those that wait
  // already are too many. Small ones have something for themselves, so that whoever leaves large
  // ones unread does not keep others from small ones.
  ByteBudget::Share Take(std::size_t bytes) {
    return budget_.Take(bytes + kCallBytes, bytes > kSmall ? for_small_ : 0);
  }

  // More than half of it is taken.
  bool scarce() const { return budget_.left() < for_small_ * 3 / 2; }

 private:
  static constexpr std::size_t kSmall = 16 << 10;
  // What a call holds besides: gRPC's part, and our frame.
  static constexpr std::size_t kCallBytes = 16 << 10;

  const std::size_t for_small_;
  ByteBudget budget_;
};

// A reply that a peer has to make room for. When that takes too long, its call is cancelled: what
// is behind an unread reply cannot be read either, not even a status.
class ReplyWait final : public PeerWaits::Wait {
 public:
  // A unary call waits less long while replies are scarce, a stream only then not for ever: a watch
  // whose reader rests is no harm by itself.
  enum class Of { kCall, kStream };

  // `replies`: those that may be scarce; null: they never are. REQUIRES: all outlive the wait.
  ReplyWait(Of of, grpc::ServerContext& context, const Patience& patience, const Replies* replies)
      : of_(of), context_(context), patience_(patience), replies_(replies) {}

 private:
  void Look(absl::Duration waited, std::size_t) override {
    const bool scarce = replies_ != nullptr && replies_->scarce();
    if (cancelled_ || waited < Most(scarce)) return;
    cancelled_ = true;
    context_.TryCancel();
  }

  absl::Duration Most(bool scarce) const {
    if (of_ == Of::kStream) return scarce ? patience_.reply : absl::InfiniteDuration();
    return scarce ? patience_.reply_when_scarce : patience_.reply;
  }

  const Of of_;
  grpc::ServerContext& context_;
  const Patience& patience_;
  const Replies* const replies_;
  bool cancelled_ = false;
};

}  // namespace sessiond::rpc
