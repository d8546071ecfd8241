#include "server/rpc/stream.h"

#include <vector>

namespace sessiond::rpc {

// In both, a local pointer holds the news while it is notified: the stream may end, and destroy
// this.
void RawStream::Reported::Complete(bool ok) {
  const std::shared_ptr<StreamNews> news = news_;
  ok_ = ok;
  pending_ = false;
  news->signal.Set();
}

void RawStream::Over::Complete(bool) {
  const std::shared_ptr<StreamNews> news = news_;
  news->over = true;
  news->signal.Set();
}

RawStream::RawStream(grpc::ServerContext& context) : context_(context), wire_(&context) {
  context.AsyncNotifyWhenDone(static_cast<Tag*>(&over_));
}

Awaitable<std::optional<grpc::ByteBuffer>> RawStream::Read() {
  if (over() || draining() || read_.pending()) co_return std::nullopt;
  read_.Start();
  wire_.Read(&incoming_, static_cast<Tag*>(&read_));
  // A drain does not wait for a client that sends nothing; Finish waits for the read.
  while (read_.pending() && !draining()) co_await news_->signal.Wait();
  if (read_.pending() || !read_.ok()) co_return std::nullopt;
  heard_ = true;
  co_return std::move(incoming_);
}

Awaitable<bool> RawStream::Write(const grpc::ByteBuffer& message, Onward onward) {
  if (over()) co_return false;
  grpc::WriteOptions options;
  if (onward == Onward::kWithNext) options.set_buffer_hint();
  Completion written([&](void* tag) { wire_.Write(message, options, tag); });
  co_return co_await written;
}

Awaitable<bool> RawStream::Finish(const grpc::Status& status) {
  Completion finished([&](void* tag) { wire_.Finish(status, tag); });
  co_await finished;
  while (!over() || read_.pending()) co_await news_->signal.Wait();
  co_return true;
}

bool StreamSet::Join(RawStream& stream, Check check) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (draining_) return false;
  streams_.emplace(&stream,
                   Joined{std::make_shared<const Check>(std::move(check)), absl::OkStatus()});
  return true;
}

absl::Status StreamSet::EndOf(RawStream& stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return streams_.at(&stream).end;
}

void StreamSet::Leave(RawStream& stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  streams_.erase(&stream);
  if (streams_.empty()) left_.notify_all();
}

void StreamSet::CheckAll() {
  struct Checked {
    RawStream* stream;
    std::shared_ptr<StreamNews> news;
    std::shared_ptr<const Check> check;
  };
  std::vector<Checked> all;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [stream, joined] : streams_) {
      if (joined.end.ok()) {
        all.push_back({stream, stream->news(), joined.check});
      } else {
        stream->Cancel();
      }
    }
  }
  // Without the lock, because a check takes a while, and a stream may leave meanwhile.
  for (const Checked& each : all) {
    absl::Status end = (*each.check)();
    if (end.ok()) continue;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto joined = streams_.find(each.stream);
      if (joined == streams_.end() || joined->second.check != each.check) continue;
      joined->second.end = std::move(end);
    }
    each.news->draining = true;
    each.news->signal.Set();
  }
}

void StreamSet::Drain(absl::Duration patience) {
  std::vector<std::shared_ptr<StreamNews>> all;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
    for (const auto& [stream, joined] : streams_) all.push_back(stream->news());
  }
  // Without the lock, because a stream may leave while it is notified.
  for (const auto& news : all) {
    news->draining = true;
    news->signal.Set();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  WaitAtMost(patience, left_, lock, [this] { return streams_.empty(); });
}

}  // namespace sessiond::rpc
