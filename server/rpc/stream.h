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
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "db/base/coroutine.h"
#include "server/rpc/async_signal.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/parse.h"
#include "server/rpc/validate.h"

namespace sessiond::rpc {

// Notifications for a stream's handler. Shared, because the stream may end while one is set.
struct StreamNews {
  // Set with each of the following, and by other sources that the handler waits for. Reading
  // consumes it too: the handler must check everything that may have changed.
  AsyncSignal signal;
  // The client left, or its deadline passed.
  std::atomic<bool> over = false;
  // Write what is pending, and return: the daemon is shutting down, or the caller may no longer see
  // this.
  std::atomic<bool> draining = false;
};

// When a message is sent.
enum class Flush {
  kNow,
  // With the next one, which follows at once: many small ones then cost one packet. REQUIRES: it
  // does follow.
  kWithNext
};

// A stream of bytes, as a transport gives it: gRPC (grpc_stream.h), or HTTP (server/http). Lives in
// the frame of its call's coroutine, which alone may use it, except where noted.
class RawStream {
 public:
  RawStream() = default;
  RawStream(const RawStream&) = delete;

  // The client's next message. Nothing: it has sent its last, the call is over, or the daemon
  // drains.
  virtual Awaitable<std::optional<grpc::ByteBuffer>> Read() = 0;
  // Returns when the message has been accepted for sending. False: the call is over.
  virtual Awaitable<bool> Write(const grpc::ByteBuffer& message, Flush flush) = 0;
  // For bytes that a handler holds until it has written them. False: too many are held.
  virtual ByteBudget::Share Hold(std::size_t bytes) = 0;
  // Cuts it off, whatever its reader does. Any thread.
  virtual void Cancel() = 0;

  bool over() const { return news_->over; }
  bool draining() const { return news_->draining; }
  // Whether the client has sent anything.
  bool heard() const { return heard_; }
  const std::shared_ptr<StreamNews>& news() const { return news_; }

 protected:
  ~RawStream() = default;

  bool heard_ = false;

 private:
  const std::shared_ptr<StreamNews> news_ = std::make_shared<StreamNews>();
};

// What a handler sees: parsed and valid requests, and replies.
template <class Request, class Reply>
class Stream {
 public:
  // What a request has to be besides, by who calls.
  using Check = std::function<absl::Status(const Request& request)>;

  explicit Stream(RawStream& raw, Check check = nullptr) : raw_(raw), check_(std::move(check)) {}

  static constexpr Flush kNow = Flush::kNow, kWithNext = Flush::kWithNext;

  // Reads the next request and returns whether it is valid; the stream can continue after an
  // invalid one. Nothing: there are no more, because the client has sent its last, the call is
  // over, or the daemon drains. REQUIRES: `request` outlives the task.
  Awaitable<std::optional<absl::Status>> ReadAny(Request* request) {
    std::optional<grpc::ByteBuffer> bytes = co_await raw_.Read();
    if (!bytes.has_value()) co_return std::nullopt;
    absl::Status sound = ParseRequest(*bytes, request);
    if (sound.ok()) sound = Validate(*request);
    if (sound.ok() && check_ != nullptr) sound = check_(*request);
    co_return sound;
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
  Awaitable<bool> Write(const std::string& part, const Reply& rest, Flush flush = Flush::kNow) {
    grpc::ByteBuffer bytes;
    if (auto small = SerializeReply(part, rest, &bytes); !small.ok()) {
      refusal_ = small;
      co_return false;
    }
    co_return co_await raw_.Write(bytes, flush);
  }

  // See RawStream.
  ByteBudget::Share Hold(std::size_t bytes) { return raw_.Hold(bytes); }

  // See StreamNews.
  bool over() const { return raw_.over(); }
  bool draining() const { return raw_.draining(); }
  const std::shared_ptr<StreamNews>& news() const { return raw_.news(); }

  // What was wrong with a request, or with a reply.
  const absl::Status& refusal() const { return refusal_; }

 private:
  RawStream& raw_;
  const Check check_;
  absl::Status refusal_;
};

}  // namespace sessiond::rpc
