// Who is let into a queue: a lane of the imagination, at a clock that is set by hand, and callers
// who come whether or not anybody has answered (an open loop).
#include "db/base/queue_delay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

namespace sessiond::db {
namespace {

constexpr int kGroupMax = 256;

// Groups of up to 256 that take `base`, and `each` for every item.
struct Lane {
  absl::Duration base;
  absl::Duration each;

  // A second's worth at its best.
  double Best() const { return kGroupMax / absl::ToDoubleSeconds(base + kGroupMax * each); }
};

struct Result {
  int answered_in_time = 0;
  int answered_late = 0;
  int refused = 0;
  std::vector<absl::Duration> waits;

  absl::Duration Percentile(double share) {
    std::sort(waits.begin(), waits.end());
    return waits.empty() ? absl::ZeroDuration()
                         : waits[static_cast<std::size_t>(share * (waits.size() - 1))];
  }
};

class QueueDelayTest : public testing::Test {
 protected:
  // `rate`: calls a second, evenly, each with a deadline of `patience`. Goes on with the queue as
  // the last load left it.
  Result Load(const Lane& lane, double rate, absl::Duration patience, absl::Duration time,
              double share = 1) {
    Result result;
    const SteadyTime end = now_ + time;
    const absl::Duration gap = absl::Seconds(1) / rate;
    for (SteadyTime next = now_; next < end; next = next + gap) {
      RunUntil(next, lane, result);
      now_ = next;
      const double ahead = static_cast<double>(waiting_.size()) / kGroupMax;
      if (sheds_ && delay_.Refuses(ahead, now_ + patience, share, now_).has_value()) {
        ++result.refused;
        continue;
      }
      waiting_.push_back({now_, now_ + patience});
      if (group_.empty()) Take();
    }
    return result;
  }

  bool sheds_ = true;
  // So many were let in, and then refused all the same.
  int cut_ = 0;
  QueueDelay delay_;
  // Where it begins does not matter.
  SteadyTime now_ = SteadyTime::Now();

 private:
  struct Call {
    SteadyTime came;
    SteadyTime deadline;
  };

  void RunUntil(SteadyTime until, const Lane& lane, Result& result) {
    while (!group_.empty()) {
      const SteadyTime done = taken_ + lane.base + static_cast<double>(group_.size()) * lane.each;
      if (done > until) return;
      now_ = done;
      for (const Call& call : group_) {
        ++(done <= call.deadline ? result.answered_in_time : result.answered_late);
        if (done <= call.deadline) result.waits.push_back(done - call.came);
      }
      group_.clear();
      delay_.Ended(now_);
      Take();
    }
  }

  // What has expired never forms part of a group, as in a lane.
  void Take() {
    while (sheds_ && waiting_.size() > 2 * kGroupMax &&
           delay_.MakesRoom(waiting_.front().came, /*share=*/1, now_)) {
      waiting_.pop_front();
      ++cut_;
    }
    while (!waiting_.empty() && group_.size() < kGroupMax) {
      if (waiting_.front().deadline > now_) group_.push_back(waiting_.front());
      waiting_.pop_front();
    }
    taken_ = now_;
    if (!group_.empty()) delay_.Began(!waiting_.empty(), now_);
  }

  SteadyTime taken_;
  std::deque<Call> waiting_;
  std::vector<Call> group_;
};

constexpr Lane kFast = {absl::Milliseconds(3), absl::Microseconds(30)};
constexpr Lane kSlow = {absl::Milliseconds(300), absl::Microseconds(100)};

TEST_F(QueueDelayTest, UnderItsCapacityNobodyIsRefused) {
  for (const Lane& lane : {kFast, kSlow}) {
    for (const double load : {0.1, 0.5, 0.8}) {
      const Result result = Load(lane, load * lane.Best(), absl::Seconds(5), absl::Seconds(10));
      EXPECT_EQ(result.refused, 0) << load;
      EXPECT_EQ(result.answered_late, 0) << load;
    }
  }
}

TEST_F(QueueDelayTest, BeyondItsCapacityNearlyAllOfItIsOfUse) {
  for (const Lane& lane : {kFast, kSlow}) {
    for (const absl::Duration patience : {absl::Seconds(1), absl::Seconds(5)}) {
      Result at_80 = Load(lane, 0.8 * lane.Best(), patience, absl::Seconds(10));
      for (const double load : {3, 10}) {
        Load(lane, 0.5 * lane.Best(), patience, absl::Seconds(5));
        // From its beginning, when it could be a burst.
        Result result = Load(lane, load * lane.Best(), patience, absl::Seconds(30));
        EXPECT_GE(result.answered_in_time, 0.9 * 30 * lane.Best()) << load << " " << patience;
        EXPECT_LE(result.answered_late, 0.02 * result.answered_in_time) << load << " " << patience;
        // What is let in waits for about as long as ever, not for as long as callers have.
        EXPECT_LE(result.Percentile(0.99), 2 * at_80.Percentile(0.99)) << load << " " << patience;
      }
    }
  }
}

TEST_F(QueueDelayTest, WithoutItALaneWorksForThoseWhoHaveGone) {
  sheds_ = false;
  const Result result = Load(kSlow, 3 * kSlow.Best(), absl::Seconds(1), absl::Seconds(10));
  EXPECT_LT(result.answered_in_time, 0.6 * 10 * kSlow.Best());
}

TEST_F(QueueDelayTest, AfterItAllIsAsBefore) {
  Load(kSlow, 0.5 * kSlow.Best(), absl::Seconds(5), absl::Seconds(10));
  Load(kSlow, 10 * kSlow.Best(), absl::Seconds(5), absl::Seconds(10));
  Load(kSlow, 0.5 * kSlow.Best(), absl::Seconds(5), absl::Seconds(5));
  const Result after = Load(kSlow, 0.8 * kSlow.Best(), absl::Seconds(5), absl::Seconds(10));
  EXPECT_EQ(after.refused, 0);
}

TEST_F(QueueDelayTest, ABurstIsNoOverload) {
  Load(kFast, 0.5 * kFast.Best(), absl::Seconds(5), absl::Seconds(5));
  // Four thousand at once take 160 ms.
  const Result burst = Load(kFast, 4e6, absl::Seconds(5), absl::Milliseconds(1));
  EXPECT_EQ(burst.refused + cut_, 0);
}

TEST_F(QueueDelayTest, WhatIsImportantIsLetInWhenTheRestIsNot) {
  Load(kFast, 3 * kFast.Best(), absl::Seconds(5), absl::Seconds(5));
  const SteadyTime later = now_ + absl::Hours(1);
  // The groups that may be ahead.
  const auto longest = [&](double share) {
    double groups = 0;
    while (!delay_.Refuses(groups, later, share, now_).has_value()) groups += 0.1;
    return groups;
  };
  EXPECT_LT(longest(0.5), longest(1));
  EXPECT_LT(longest(1) + 2, longest(2));
  EXPECT_GT(longest(1), 0);
}

}  // namespace
}  // namespace sessiond::db
