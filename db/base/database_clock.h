// The time by the database's clock, without a round trip of its own: read along with other answers,
// and advanced since by a monotonic clock.
#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

// Any thread.
class DatabaseClock {
 public:
  // An answer with the database's time has arrived, at `now`.
  void Read(absl::Time database_time, SteadyTime now = SteadyTime::Now());
  // What was read is void: the next database may have another clock.
  void Forget();

  // In whole microseconds, as the database stores times. Behind by as long as the quickest answer
  // of the last seconds took, and ahead by at most the drift of the two clocks in a minute.
  // Nothing, if there was no answer for half a minute.
  std::optional<absl::Time> Now(SteadyTime now = SteadyTime::Now()) const;

  // The same, however old the last answer is; this machine's own time if there was none. Good
  // enough for display: how long something can still be recovered, for example.
  absl::Time Estimate(SteadyTime now = SteadyTime::Now()) const;

 private:
  mutable absl::Mutex mutex_;
  // When this machine's steady clock began, as computed from what was read: the latest value of the
  // current time span, which began at `since_`, and of the one before.
  absl::Time origin_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time origin_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  SteadyTime since_ ABSL_GUARDED_BY(mutex_);
  // The last of these that was known, for Estimate.
  absl::Time origin_known_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace sessiond::db
