#include "server/rpc/grpc_stream.h"

#include "server/rpc/grpc_body.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

// It is written on the queue's thread in less time than another thread takes to wake.
constexpr std::size_t kSmallMessage = 16 << 10;

}  // namespace

void GrpcStream::Reading::Start() {
  pending_ = true;
  stream_.queue_.waits().Begin(*this);
  stream_.wire_.Read(&stream_.incoming_, static_cast<Tag*>(this));
}

// Here and below, a local pointer holds the news while it is notified: the stream may end, and
// destroy this.
void GrpcStream::Reading::Complete(bool ok) {
  const std::shared_ptr<StreamNews> news = stream_.news();
  stream_.queue_.waits().End(*this);
  ok_ = ok;
  pending_ = false;
  news->signal.Set();
}

// Between the messages of a long stream its client may rest, unless memory runs short: whether half
// of a message is here, nobody knows.
void GrpcStream::Reading::Look(absl::Duration waited, std::size_t grown) {
  absl::Status late = CheckArrival(stream_.one_request_ ? waited : absl::ZeroDuration(), grown,
                                   stream_.shared_.draining(), stream_.queue_.waits().patience());
  if (late.ok() || stream_.refused()) return;
  stream_.Refuse(std::move(late));
  stream_.news()->signal.Set();
}

void GrpcStream::Over::Complete(bool) {
  const std::shared_ptr<StreamNews> news = news_;
  news->over = true;
  news->signal.Set();
}

GrpcStream::GrpcStream(grpc::ServerContext& context, CallQueue& queue, Shared& shared,
                       bool one_request)
    : context_(context),
      queue_(queue),
      shared_(shared),
      one_request_(one_request),
      wire_(&context) {
  context.AsyncNotifyWhenDone(static_cast<Tag*>(&over_));
}

Awaitable<std::optional<grpc::ByteBuffer>> GrpcStream::Read() {
  if (over() || draining() || read_.pending()) co_return std::nullopt;
  read_.Start();
  // A drain does not wait for a client that sends nothing; Finish waits for the read.
  while (read_.pending() && !draining() && !refused()) co_await news()->signal.Wait();
  auto entered = shared_.worker.Enter();
  co_await entered;
  if (read_.pending() || !read_.ok()) co_return std::nullopt;
  heard_ = true;
  co_return std::move(incoming_);
}

Awaitable<bool> GrpcStream::Write(const grpc::ByteBuffer& message, Flush flush) {
  if (over()) co_return false;
  const ByteBudget::Share held = shared_.replies.Take(message.Length());
  if (!held) {
    Refuse(Overloaded("bytes of replies"));
    co_return false;
  }
  grpc::WriteOptions options;
  if (flush == Flush::kWithNext) options.set_buffer_hint();
  ReplyWait wait(ReplyWait::Of::kStream, context_, queue_.waits().patience(), &shared_.replies);
  queue_.waits().Begin(wait);
  Completion written([&](void* tag) { wire_.Write(message, options, tag); });
  const bool ok = co_await written;
  queue_.waits().End(wait);
  // To change threads takes longer than to write what is small. While a watch is behind, its
  // changes follow each other, so that the further behind it is, the less often it changes threads.
  if (ok && flush == Flush::kWithNext && message.Length() <= kSmallMessage) co_return ok;
  auto entered = shared_.worker.Enter();
  co_await entered;
  co_return ok;
}

void GrpcStream::Refuse(absl::Status why) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (refusal_.ok()) refusal_ = std::move(why);
}

bool GrpcStream::refused() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !refusal_.ok();
}

absl::Status GrpcStream::EndOf(const absl::Status& status) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return refusal_.ok() ? status : refusal_;
}

Awaitable<void> GrpcStream::Finish(grpc::Status status) {
  Completion finished([&](void* tag) { wire_.Finish(status, tag); });
  co_await finished;
  while (!over() || read_.pending()) co_await news()->signal.Wait();
}

}  // namespace sessiond::rpc
