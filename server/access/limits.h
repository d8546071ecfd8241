// How much one caller may ask for at a time. Each daemon counts for itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::access {

// By default more than a busy back end asks for.
struct Limits {
  // On average; as many again may come at once after a pause of a second.
  int64_t calls_per_second = 100'000;
  // With calls in flight on them, watches too. Over HTTP each call in flight has one of its own;
  // those of a unix socket are one.
  int64_t connections = 10'000;
  // Without watches.
  int64_t calls_in_flight = 10'000;
  int64_t watches = 10'000;
  // Of requests.
  int64_t bytes_in_flight = 128 << 20;
};

// For those who are nobody in particular.
inline constexpr Limits kNoLimits = {.calls_per_second = 1'000'000'000'000,
                                     .connections = 1'000'000'000'000,
                                     .calls_in_flight = 1'000'000'000'000,
                                     .watches = 1'000'000'000'000,
                                     .bytes_in_flight = 1'000'000'000'000};

// What a call takes of its caller's limits.
struct Share {
  bool watch = false;
  // Of its request.
  int64_t bytes = 0;
  // The address that its connection comes from. Empty: not counted.
  std::string connection;
};

// What a caller uses at this moment. Thread-safe.
class Usage : public std::enable_shared_from_this<Usage> {
 public:
  // A call, or a message, that is counted until this is destroyed.
  class Held {
   public:
    Held() = default;
    Held(Held&& other) = default;
    Held& operator=(Held&& other) {
      std::swap(usage_, other.usage_);
      std::swap(calls_, other.calls_);
      std::swap(share_, other.share_);
      return *this;
    }
    ~Held() {
      if (usage_ != nullptr) usage_->Release(*this);
    }

   private:
    friend class Usage;
    Held(std::shared_ptr<Usage> usage, int calls, Share share)
        : usage_(std::move(usage)), calls_(calls), share_(std::move(share)) {}

    std::shared_ptr<Usage> usage_;
    // 0 for a message.
    int calls_ = 0;
    Share share_;
  };

  // RATE_LIMITED: it would be one too many.
  absl::StatusOr<Held> Admit(const Limits& limits, Share share, SteadyTime now);
  // The same for a message of a call that was let in: only its bytes count.
  absl::StatusOr<Held> AdmitMessage(const Limits& limits, int64_t bytes);
  // Whether nothing is in flight, and no limit remembers a call.
  bool idle(SteadyTime now) const;

 private:
  void Release(const Held& held);

  mutable absl::Mutex mutex_;
  // When the calls so far would all have come, at exactly the rate that is allowed: the generic
  // cell rate algorithm (ITU-T I.371).
  SteadyTime due_ ABSL_GUARDED_BY(mutex_);
  int64_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t watches_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // By the address that they come from: how many calls each has in flight.
  absl::flat_hash_map<std::string, int64_t> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::access
