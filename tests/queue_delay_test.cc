// Who is let into a lane's inbox, and who is answered: a lane of the imagination, at a clock that
// is set by hand, and callers who come whether or not anybody has answered (an open loop).
#include "db/base/queue_delay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "db/base/lane_inbox.h"

namespace sessiond::db {
namespace {

// An eighth of a lane's, whose items take eight times as long below: the times are a lane's, with
// an eighth of the calls to simulate.
constexpr int kGroupMax = 32;

// Groups of up to kGroupMax that take `base`, and `each` for every item.
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
  // Let in, and then refused all the same.
  int made_room = 0;
  std::vector<absl::Duration> waits;

  absl::Duration Percentile(double share) {
    std::sort(waits.begin(), waits.end());
    return waits.empty() ? absl::ZeroDuration()
                         : waits[static_cast<std::size_t>(share * (waits.size() - 1))];
  }
};

// Where it begins does not matter.
SteadyTime set_by_hand = SteadyTime::Now();

class QueueDelayTest : public testing::Test {
 protected:
  // `rate`: calls a second, evenly, each with a deadline of `patience`. Goes on with the queue as
  // the last load left it.
  Result Load(const Lane& lane, double rate, absl::Duration patience, absl::Duration time) {
    Result result;
    const SteadyTime end = set_by_hand + time;
    const absl::Duration gap = absl::Seconds(1) / rate;
    for (SteadyTime next = set_by_hand; next < end; next = next + gap) {
      RunUntil(next, lane, result);
      set_by_hand = next;
      if (!Come(patience).ok()) ++result.refused;
      if (group_.empty()) Take(result);
    }
    return result;
  }
  // And nobody comes any more.
  Result Rest(const Lane& lane) {
    Result result;
    RunUntil(set_by_hand + absl::Hours(1), lane, result);
    return result;
  }
  absl::Status Come(absl::Duration patience, Importance importance = Importance::kNormal) {
    const Call call{set_by_hand, set_by_hand + patience};
    return inbox_->Push(call, 1, call.deadline, importance);
  }

  void Use(bool sheds) {
    inbox_.emplace(LaneInboxOptions{
        .items_max = 1'000'000, .group_items_max = kGroupMax, .sheds = sheds, .now = [] {
          return set_by_hand;
        }});
  }
  void SetUp() override { Use(/*sheds=*/true); }

 private:
  struct Call {
    SteadyTime came;
    SteadyTime deadline;
  };

  void RunUntil(SteadyTime until, const Lane& lane, Result& result) {
    while (!group_.empty()) {
      const SteadyTime done = taken_ + lane.base + static_cast<double>(group_.size()) * lane.each;
      if (done > until) return;
      set_by_hand = done;
      for (const Call& call : group_) {
        ++(done <= call.deadline ? result.answered_in_time : result.answered_late);
        if (done <= call.deadline) result.waits.push_back(done - call.came);
      }
      group_.clear();
      Take(result);
    }
  }

  // What has expired never forms part of a group, as in a lane.
  void Take(Result& result) {
    while (group_.empty() && inbox_->size() > 0) {
      std::vector<Call> late;
      inbox_->Take(&group_, &late);
      result.made_room += static_cast<int>(late.size());
      std::erase_if(group_, [](const Call& call) { return call.deadline <= set_by_hand; });
    }
    taken_ = set_by_hand;
  }

  std::optional<LaneInbox<Call>> inbox_;
  SteadyTime taken_;
  std::vector<Call> group_;
};

constexpr Lane kFast = {absl::Milliseconds(10), absl::Microseconds(800)};
constexpr Lane kSlow = {absl::Milliseconds(300), absl::Microseconds(800)};

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
  Use(/*sheds=*/false);
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
  Rest(kFast);
  // Five hundred at once take half a second.
  const Result burst = Load(kFast, 5e5, absl::Seconds(5), absl::Milliseconds(1));
  EXPECT_EQ(burst.refused, 0);
  const Result rest = Rest(kFast);
  EXPECT_EQ(rest.made_room, 0);
  EXPECT_EQ(burst.answered_in_time + rest.answered_in_time, 500);
}

TEST_F(QueueDelayTest, OneIsRefusedForEachThatWasTurnedAway) {
  Load(kFast, 0.5 * kFast.Best(), absl::Seconds(5), absl::Seconds(5));
  Load(kFast, 5e5, absl::Seconds(5), absl::Milliseconds(1));
  // One more every 20 ms: those that come when the burst has stood for 100 ms are turned away.
  const Result few = Load(kFast, 50, absl::Seconds(5), absl::Milliseconds(300));
  EXPECT_GT(few.refused, 0);
  EXPECT_GT(few.made_room, 0);
  EXPECT_LE(few.made_room, few.refused);
}

TEST_F(QueueDelayTest, WhenALoadEndsTheRestIsDone) {
  const Result load = Load(kSlow, 10 * kSlow.Best(), absl::Seconds(30), absl::Milliseconds(1'200));
  ASSERT_GT(load.refused, 0) << "the queue has stood for a moment";
  const Result rest = Rest(kSlow);
  EXPECT_LE(rest.made_room, load.refused);
  EXPECT_GT(rest.answered_in_time, 5 * load.refused);
}

TEST_F(QueueDelayTest, WhatIsImportantIsLetInWhenTheRestIsNot) {
  Load(kFast, 3 * kFast.Best(), absl::Seconds(5), absl::Seconds(5));
  const auto let_in = [&](Importance importance) {
    int count = 0;
    while (Come(absl::Hours(1), importance).ok()) ++count;
    return count;
  };
  EXPECT_EQ(let_in(Importance::kLow), 0);
  EXPECT_LT(let_in(Importance::kNormal), kGroupMax);
  EXPECT_GT(let_in(Importance::kHigh), 2 * kGroupMax);
}

TEST_F(QueueDelayTest, NobodyMakesRoomForWhatIsLessImportant) {
  Load(kFast, 0.5 * kFast.Best(), absl::Seconds(5), absl::Seconds(5));
  Load(kFast, 5e5, absl::Seconds(5), absl::Milliseconds(1));
  // It stands then.
  const Result few = Load(kFast, 5, absl::Seconds(5), absl::Milliseconds(300));
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Come(absl::Seconds(5), Importance::kLow).ok());
  EXPECT_LE(few.made_room + Rest(kFast).made_room, few.refused);
}

}  // namespace
}  // namespace sessiond::db
