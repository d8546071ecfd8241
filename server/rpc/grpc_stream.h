// A streaming call of gRPC, as handlers see it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call.h"
#include "server/rpc/call_queue.h"
#include "server/rpc/peer_waits.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/replies.h"
#include "server/rpc/stream.h"
#include "server/rpc/worker.h"

namespace sessiond::rpc {

// Goes on on the streams' own thread whenever it was resumed by its queue's, unless it was a small
// message that another one follows at once: what a watch sends at its beginning would keep the
// queue from its calls.
class GrpcStream final : public RawStream {
 public:
  // What all streams of a server share.
  struct Shared {
    Worker worker;
    // Of messages: more of them means slower readers, who can resume.
    Replies replies{32 << 20};
    // Of what handlers hold for them.
    ByteBudget held{32 << 20};
    // Whether the daemon drains.
    std::function<bool()> draining = [] { return false; };
  };

  // `one_request`: the client sends one message, as in a unary call, and has the same time for it.
  // REQUIRES: the call of `context` was not accepted yet.
  GrpcStream(grpc::ServerContext& context, CallQueue& queue, Shared& shared, bool one_request);

  // The stream to accept the call with.
  ByteStream& wire() { return wire_; }

  Awaitable<std::optional<grpc::ByteBuffer>> Read() override;
  Awaitable<bool> Write(const grpc::ByteBuffer& message, Flush flush) override;
  ByteBudget::Share Hold(std::size_t bytes) override { return shared_.held.Take(bytes); }
  void Cancel() override { context_.TryCancel(); }
  // Ends the call, and returns when gRPC no longer needs the stream.
  Awaitable<void> Finish(grpc::Status status);

  // What the stream ends with, if its handler ended with `status`.
  absl::Status EndOf(const absl::Status& status) const;

 private:
  // The read that is under way. Ends once, and notifies.
  class Reading final : public Tag, public PeerWaits::Wait {
   public:
    explicit Reading(GrpcStream& stream) : stream_(stream) {}
    void Start();
    void Complete(bool ok) override;
    bool pending() const { return pending_; }
    bool ok() const { return ok_; }

   private:
    void Look(absl::Duration waited, std::size_t grown) override;

    GrpcStream& stream_;
    bool ok_ = false;
    std::atomic<bool> pending_ = false;
  };
  class Over final : public Tag {
   public:
    explicit Over(std::shared_ptr<StreamNews> news) : news_(std::move(news)) {}
    void Complete(bool ok) override;

   private:
    const std::shared_ptr<StreamNews> news_;
  };

  // The first one counts. Any thread.
  void Refuse(absl::Status why);
  bool refused() const;

  grpc::ServerContext& context_;
  CallQueue& queue_;
  Shared& shared_;
  const bool one_request_;
  ByteStream wire_;
  Over over_{news()};
  Reading read_{*this};
  grpc::ByteBuffer incoming_;
  mutable std::mutex mutex_;
  // Guarded by the mutex. Why it ends, if that is the stream's own doing.
  absl::Status refusal_;
};

}  // namespace sessiond::rpc
