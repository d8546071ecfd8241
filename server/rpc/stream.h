// A streaming call, of either kind: messages in, messages out, and news of what ends it.
//
//   Read   ◀── one message at a time ◀── client
//   Write  ──▶ one message at a time ──▶ client   the next when this one has found room: back
//                                                 pressure is gRPC's own flow control
//   news   ◀── the call is over · the daemon drains · anything else that the handler waits for
//
// A handler that waits for something other than messages waits for the news, and then checks what
// has changed: a call that its client has left must not wait on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/base/coroutine.h"
#include "server/rpc/call.h"
#include "server/rpc/parse.h"
#include "server/rpc/raw_service.h"
#include "server/rpc/signal.h"
#include "server/rpc/validate.h"

namespace sessiond::rpc {

// Notifications for a stream's handler. Shared, because the stream may end while one is set.
struct StreamNews {
  // Set with each of the following, and by other sources that the handler waits for. Reading
  // consumes it too: the handler must check everything that may have changed.
  Signal signal;
  // The client left, or its deadline passed.
  std::atomic<bool> over = false;
  // Write what is pending, and return: the daemon is shutting down, or the caller may no longer see
  // this.
  std::atomic<bool> draining = false;
};

// When a message is sent.
enum class Onward {
  kNow,
  // With the next one, which follows at once: many small ones then cost one packet. REQUIRES: it
  // does follow.
  kWithNext
};

// A stream of bytes. Lives in the frame of its call's coroutine, which alone may use it, except
// where noted.
class RawStream {
 public:
  // REQUIRES: the call of `context` was not accepted yet.
  explicit RawStream(grpc::ServerContext& context);
  RawStream(const RawStream&) = delete;

  // The stream to accept the call with.
  ByteStream& wire() { return wire_; }

  // The client's next message. Nothing: it has sent its last, the call is over, or the daemon
  // drains.
  Awaitable<std::optional<grpc::ByteBuffer>> Read();
  // Returns when the message has been accepted for sending. False: the call is over.
  Awaitable<bool> Write(const grpc::ByteBuffer& message, Onward onward = Onward::kNow);
  // Ends the call, and returns when gRPC no longer needs the stream. Always true.
  Awaitable<bool> Finish(const grpc::Status& status);

  bool over() const { return news_->over; }
  bool draining() const { return news_->draining; }
  // Whether the client has sent anything.
  bool heard() const { return heard_; }
  const std::shared_ptr<StreamNews>& news() const { return news_; }
  // Cuts it off, whatever its reader does. Any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  // Completes once, and notifies.
  class Reported final : public Tag {
   public:
    Reported(std::shared_ptr<StreamNews> news, bool pending)
        : news_(std::move(news)), pending_(pending) {}
    void Start() { pending_ = true; }
    void Complete(bool ok) override;
    bool pending() const { return pending_; }
    bool ok() const { return ok_; }

   private:
    const std::shared_ptr<StreamNews> news_;
    bool ok_ = false;
    std::atomic<bool> pending_;
  };
  class Over final : public Tag {
   public:
    explicit Over(std::shared_ptr<StreamNews> news) : news_(std::move(news)) {}
    void Complete(bool ok) override;

   private:
    const std::shared_ptr<StreamNews> news_;
  };

  grpc::ServerContext& context_;
  ByteStream wire_;
  const std::shared_ptr<StreamNews> news_ = std::make_shared<StreamNews>();
  Over over_{news_};
  Reported read_{news_, false};
  grpc::ByteBuffer incoming_;
  bool heard_ = false;
};

// All streams of a server. Thread-safe.
class StreamSet {
 public:
  // Whether a stream may go on.
  using Check = std::function<absl::Status()>;

  // False: the daemon drains; the stream is not added. An added stream must leave.
  bool Join(RawStream& stream, Check check);
  void Leave(RawStream& stream);
  // What the last check said of it. REQUIRES: it has joined.
  absl::Status EndOf(RawStream& stream);

  // Ends the streams that may not go on. One that has not ended by the next call is cut off.
  void CheckAll();

  // Notifies every stream to end, adds no more, and waits for their ends, for `patience` at most:
  // one whose reader has stopped reading does not end by itself.
  void Drain(absl::Duration patience);

 private:
  std::mutex mutex_;
  // Guarded by the mutex.
  bool draining_ = false;
  struct Joined {
    std::shared_ptr<const Check> check;
    // The status to end with.
    absl::Status end;
  };
  absl::flat_hash_map<RawStream*, Joined> streams_;
  std::condition_variable left_;
};

// What a handler sees: parsed and valid requests, and replies.
template <class Request, class Reply>
class Stream {
 public:
  explicit Stream(RawStream& raw) : raw_(raw) {}

  // Reads the next request and returns whether it is valid; the stream can continue after an
  // invalid one. Nothing: there are no more, because the client has sent its last, the call is
  // over, or the daemon drains. REQUIRES: `request` outlives the task.
  Awaitable<std::optional<absl::Status>> ReadAny(Request* request) {
    std::optional<grpc::ByteBuffer> bytes = co_await raw_.Read();
    if (!bytes.has_value()) co_return std::nullopt;
    const absl::Status parsed = ParseRequest(*bytes, request);
    co_return parsed.ok() ? Validate(*request) : parsed;
  }

  // The same, but a refusal ends the stream: it is what the client gets, whatever the handler
  // returns.
  Awaitable<std::optional<Request>> Read() {
    Request request;
    const std::optional<absl::Status> sound = co_await ReadAny(&request);
    if (!sound.has_value()) co_return std::nullopt;
    if (sound->ok()) co_return std::move(request);
    refusal_ = *sound;
    co_return std::nullopt;
  }

  // Returns when the reply has been accepted for sending: the next may be written. False: it cannot
  // be sent, and the handler should return. REQUIRES: the reply outlives the task.
  Awaitable<bool> Write(const Reply& reply) {
    static const std::string kNothing;
    return Write(kNothing, reply);
  }

  // The same for a reply of which `part` is serialized already.
  Awaitable<bool> Write(const std::string& part, const Reply& rest, Onward onward = Onward::kNow) {
    grpc::ByteBuffer bytes;
    if (auto small = SerializeReply(part, rest, &bytes); !small.ok()) {
      refusal_ = small;
      co_return false;
    }
    co_return co_await raw_.Write(bytes, onward);
  }

  // See StreamNews.
  bool over() const { return raw_.over(); }
  bool draining() const { return raw_.draining(); }
  const std::shared_ptr<StreamNews>& news() const { return raw_.news(); }

  // What was wrong with a request, or with a reply.
  const absl::Status& refusal() const { return refusal_; }

 private:
  RawStream& raw_;
  absl::Status refusal_;
};

}  // namespace sessiond::rpc
