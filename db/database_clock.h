// What time it is by the database's clock, without asking: read when there is an answer anyway, and
// moved on since by a clock that nobody sets.
#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace sessiond::db {

// Any thread.
class DatabaseClock {
 public:
  // An answer has come, at `now` by this machine's steady clock, in which the database told its
  // time.
  void Read(absl::Time database_time, absl::Duration now = SteadyNow());
  // What was read is void: the next database may have another clock.
  void Forget();

  // In whole microseconds, as the database keeps times. Late by what the quickest of the answers of
  // the last seconds took, and ahead by no more than the two clocks drift apart in a minute.
  // Nothing, if there was no answer for half a minute.
  std::optional<absl::Time> Now(absl::Duration now = SteadyNow()) const;

  static absl::Duration SteadyNow();

 private:
  mutable absl::Mutex mutex_;
  // When this machine's steady clock began, as it looks from what was read: the latest of the
  // current span of time, which began at `since_`, and of the one before.
  absl::Time origin_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time origin_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Duration since_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace sessiond::db
