#include "server/rpc/stream_set.h"

#include <utility>
#include <vector>

#include "db/base/steady_time.h"

namespace sessiond::rpc {

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
