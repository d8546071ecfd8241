#include "server/access/limits.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"

namespace sessiond::access {
namespace {

// How much may come at once: what a second brings.
constexpr absl::Duration kBurst = absl::Seconds(1);
// When something in flight has probably ended.
constexpr absl::Duration kTryAgain = absl::Milliseconds(200);
// A watch ends when its reader wants.
constexpr absl::Duration kTryWatchAgain = absl::Seconds(5);

absl::Status RateLimited(absl::string_view limit, int64_t value, absl::string_view sentence,
                         absl::Duration wait) {
  return Refusal(
             v1::RATE_LIMITED,
             absl::StrCat("You may have ", value, " ", sentence,
                          ". Wait as RetryInfo says, or ask whoever runs the service for more."))
      .With("limit", limit)
      .With("value", absl::StrCat(value))
      .RetryAfter(wait);
}

absl::Status TooManyBytes(const Limits& limits) {
  return RateLimited("bytes_in_flight", limits.bytes_in_flight, "bytes of requests in flight",
                     kTryAgain);
}

}  // namespace

absl::StatusOr<Usage::Held> Usage::Admit(const Limits& limits, Share share, SteadyTime now) {
  const absl::MutexLock lock(&mutex_);
  if (share.watch && watches_ >= limits.watches)
    return RateLimited("watches", limits.watches, "watches at a time", kTryWatchAgain);
  if (!share.watch && calls_ >= limits.calls_in_flight)
    return RateLimited("calls_in_flight", limits.calls_in_flight, "calls in flight", kTryAgain);
  if (share.bytes > 0 && bytes_ + share.bytes > limits.bytes_in_flight) return TooManyBytes(limits);
  if (!share.connection.empty() && std::ssize(connections_) >= limits.connections &&
      !connections_.contains(share.connection)) {
    return RateLimited("connections", limits.connections, "connections with calls in flight",
                       2 * watches_ > std::ssize(connections_) ? kTryWatchAgain : kTryAgain);
  }
  const absl::Duration interval = absl::Seconds(1) / limits.calls_per_second;
  const SteadyTime due = std::max(due_, now) + interval;
  if (due - now > kBurst + interval) {
    return RateLimited("calls_per_second", limits.calls_per_second, "calls a second",
                       due - now - kBurst);
  }
  due_ = due;
  ++(share.watch ? watches_ : calls_);
  bytes_ += share.bytes;
  if (!share.connection.empty()) ++connections_[share.connection];
  return Held(shared_from_this(), 1, std::move(share));
}

absl::StatusOr<Usage::Held> Usage::AdmitMessage(const Limits& limits, int64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  if (bytes_ + bytes > limits.bytes_in_flight) return TooManyBytes(limits);
  bytes_ += bytes;
  return Held(shared_from_this(), 0, {.bytes = bytes});
}

bool Usage::idle(SteadyTime now) const {
  const absl::MutexLock lock(&mutex_);
  return calls_ == 0 && watches_ == 0 && bytes_ == 0 && due_ <= now;
}

void Usage::Release(const Held& held) {
  const absl::MutexLock lock(&mutex_);
  const Share& share = held.share_;
  (share.watch ? watches_ : calls_) -= held.calls_;
  bytes_ -= share.bytes;
  if (share.connection.empty()) return;
  const auto connection = connections_.find(share.connection);
  if (--connection->second == 0) connections_.erase(connection);
}

}  // namespace sessiond::access
