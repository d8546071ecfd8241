// What time it is by the database's clock, without asking: read when there is an answer anyway, and
// moved on since by a clock that nobody sets.
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
  // An answer has come, at `now`, in which the database told its time.
  void Read(absl::Time database_time, SteadyTime now = SteadyTime::Now());
  // What was read is void: the next database may have another clock.
  void Forget();

  // In whole microseconds, as the database keeps times. Late by what the quickest of the answers of
  // the last seconds took, and ahead by no more than the two clocks drift apart in a minute.
  // Nothing, if there was no answer for half a minute.
  std::optional<absl::Time> Now(SteadyTime now = SteadyTime::Now()) const;

  // The same, however long ago the last answer was; this machine's own time where there was none at
  // all. Good enough for what is shown: how long something can still be recovered, say.
  absl::Time Estimate(SteadyTime now = SteadyTime::Now()) const;

 private:
  mutable absl::Mutex mutex_;
  // When this machine's steady clock began, as it looks from what was read: the latest of the
  // current span of time, which began at `since_`, and of the one before.
  absl::Time origin_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time origin_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  SteadyTime since_ ABSL_GUARDED_BY(mutex_);
  // The last of these that was known, for Estimate.
  absl::Time origin_known_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace sessiond::db
