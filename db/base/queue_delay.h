// How long what is put into a queue now waits for its answer, and whether that is too long. One
// thread takes groups out of the queue; how long they take is measured.
//
// A queue that is not emptied when a group is taken *stands*. One that has stood for a while does
// not help anybody: more comes than is done, and whoever waits longest is answered after they have
// gone. From then on only as much is let in as is done within a few groups' time, and everybody
// else learns at once that they have to come back; for each of them whoever has waited for too long
// already makes room (controlled delay: Nichols and Jacobson, ACM Queue 10(5), 2012; for requests:
// Maurer, "Fail at Scale", ACM Queue 13(8), 2015). A burst is no standing queue.
#pragma once

#include <algorithm>
#include <optional>

#include "absl/time/time.h"
#include "db/base/steady_time.h"

namespace sessiond::db {

// Under its queue's mutex.
class QueueDelay {
 public:
  // The group that was taken is done; or there was none.
  void Ended(SteadyTime now) {
    if (!busy_) return;
    busy_ = false;
    const absl::Duration took = now - began_;
    group_time_ = known_ ? (1 - kWeight) * group_time_ + kWeight * took : took;
    known_ = true;
  }

  // A group was taken; `more`: others wait for the next.
  void Began(bool more, SteadyTime now) {
    busy_ = true;
    began_ = now;
    standing_since_ = more ? std::min(standing_since_, now) : SteadyTime::InfiniteFuture();
  }

  // Until an answer, for what has so many groups ahead in the queue: a whole number, or less than
  // one for the last.
  absl::Duration Expected(double groups_ahead, SteadyTime now) const {
    const absl::Duration rest =
        busy_ ? std::max(group_time_ - (now - began_), absl::ZeroDuration()) : absl::ZeroDuration();
    return rest + groups_ahead * group_time_ + group_time_;
  }

  // Whether to refuse what has this deadline: nothing, or when it should come back. `share`: of the
  // wait that is allowed while the queue stands; what is more important may wait longer.
  std::optional<absl::Duration> Refuses(double groups_ahead, SteadyTime deadline, double share,
                                        SteadyTime now) const {
    if (!known_) return std::nullopt;
    const absl::Duration expected = Expected(groups_ahead, now);
    const bool stands = Stands(now);
    // An estimate decides nothing for whoever is in the next group.
    const bool in_vain = (stands || groups_ahead >= 1) && now + expected > deadline;
    const bool too_long = stands && expected > share * WaitMax();
    if (!in_vain && !too_long) return std::nullopt;
    return RetryIn(groups_ahead, now);
  }

  // About as much is done by then as waits now.
  absl::Duration RetryIn(double groups_ahead, SteadyTime now) const {
    return std::clamp(Expected(groups_ahead, now), kRetryMin, kRetryMax);
  }

  // Whether the queue has not been empty for so long that it is no burst.
  bool Stands(SteadyTime now) const {
    return now - standing_since_ >= std::max(kBurst, kGroupsMax * group_time_);
  }

  // What came before then, and still waits, would wait longer than is allowed while the queue
  // stands, even if it were in the next group.
  SteadyTime LateBefore(double share, SteadyTime now) const {
    return now + group_time_ - share * WaitMax();
  }

 private:
  // Of the newest group in the average.
  static constexpr double kWeight = 0.2;
  // A queue that stands for less is a burst.
  static constexpr absl::Duration kBurst = absl::Milliseconds(100);
  // How long an answer may take in a queue that stands, in groups' times: what is left of the one
  // that runs, one's own, and about one between them, so that the thread is never idle.
  static constexpr double kGroupsMax = 2.5;
  static constexpr absl::Duration kWaitMin = absl::Milliseconds(20);
  static constexpr absl::Duration kRetryMin = absl::Milliseconds(50);
  static constexpr absl::Duration kRetryMax = absl::Seconds(5);

  absl::Duration WaitMax() const { return std::max(kWaitMin, kGroupsMax * group_time_); }

  bool busy_ = false;
  bool known_ = false;
  SteadyTime began_;
  absl::Duration group_time_;
  SteadyTime standing_since_ = SteadyTime::InfiniteFuture();
};

}  // namespace sessiond::db
