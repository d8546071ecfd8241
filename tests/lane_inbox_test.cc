// The inbox: nothing is lost, nothing comes out of order, and its limits hold.
#include "db/base/lane_inbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "db/base/deadline.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

using testing::ElementsAre;

TEST(LaneInbox, GivesTheOldestUpToAGroupsLimits) {
  LaneInbox<int> inbox({.group_items_max = 3, .group_bytes_max = 100});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(inbox.Push(i, 10).ok());
  EXPECT_TRUE(inbox.Push(4, 95).ok());
  EXPECT_TRUE(inbox.Push(5, 10).ok());
  EXPECT_TRUE(inbox.Push(6, 1000).ok());
  EXPECT_TRUE(inbox.Push(7, 10).ok());
  std::vector<int> group;
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre(0, 1, 2));
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre(3, 4)) << "the limit is reached with the second";
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre(5, 6)) << "what is larger than a group goes all the same";
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre(7));
  inbox.Close();
  EXPECT_FALSE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre());
}

TEST(LaneInbox, RefusesWhatIsTooMuchAndTakesItAgainLater) {
  LaneInbox<int> inbox({.items_max = 2, .bytes_max = 100});
  EXPECT_EQ(ReasonOf(inbox.Push(1, 101)), v1::OVERLOADED);
  EXPECT_TRUE(inbox.Push(1, 100).ok());
  EXPECT_EQ(ReasonOf(inbox.Push(2, 1)), v1::OVERLOADED);
  EXPECT_TRUE(inbox.Push(2, 0).ok());
  EXPECT_EQ(ReasonOf(inbox.Push(3, 0)), v1::OVERLOADED);
  EXPECT_EQ(inbox.size(), 2u);
  std::vector<int> group;
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_EQ(inbox.size(), 0u);
  EXPECT_TRUE(inbox.Push(3, 100).ok());
}

TEST(LaneInbox, ClosedLetsNothingInAndGivesWhatWaits) {
  LaneInbox<int> inbox(LaneInboxOptions{});
  EXPECT_TRUE(inbox.Push(1, 1).ok());
  inbox.Close();
  EXPECT_EQ(ReasonOf(inbox.Push(2, 1)), v1::DRAINING);
  std::vector<int> group;
  EXPECT_TRUE(inbox.Take(&group));
  EXPECT_THAT(group, ElementsAre(1));
  EXPECT_FALSE(inbox.Take(&group));
}

TEST(LaneInbox, RefusesInTheWordsOfWhatWaits) {
  LaneInbox<int> changes({.items_max = 0});
  EXPECT_EQ(changes.Push(1, 1).message(),
            "More changes are waiting than the daemon takes on. Wait, then retry.");
  LaneInbox<int> reads({.items_max = 0, .items = "reads", .elsewhere = "Retry at another one."});
  EXPECT_EQ(reads.Push(1, 1).message(),
            "More reads are waiting than the daemon takes on. Wait, then retry.");
  changes.Close();
  EXPECT_EQ(changes.Push(1, 1).message(),
            "This daemon is going down. Retry at another one, with the same request_id.");
  reads.Close();
  EXPECT_EQ(reads.Push(1, 1).message(), "This daemon is going down. Retry at another one.");
}

TEST(LaneInbox, WakesWhoWaitsWhenItCloses) {
  LaneInbox<int> inbox(LaneInboxOptions{});
  std::thread waiter([&] {
    std::vector<int> group;
    EXPECT_FALSE(inbox.Take(&group));
  });
  inbox.Close();
  waiter.join();
}

// More than one of several takers takes is left to the next, even if nothing more comes in.
TEST(LaneInbox, WakesAsManyAsThereIsWorkFor) {
  constexpr int kTakers = 3, kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    LaneInbox<int> inbox({.group_items_max = 1});
    absl::BlockingCounter waiting(kTakers);
    absl::Notification taken[kTakers];
    std::vector<std::thread> takers;
    for (absl::Notification& mine : taken) {
      takers.emplace_back([&] {
        std::vector<int> group;
        waiting.DecrementCount();
        if (inbox.Take(&group)) mine.Notify();
      });
    }
    waiting.Wait();
    for (int i = 0; i < kTakers; ++i) EXPECT_TRUE(inbox.Push(i, 1).ok());
    for (absl::Notification& mine : taken)
      EXPECT_TRUE(mine.WaitForNotificationWithTimeout(absl::Seconds(30)));
    inbox.Close();
    for (std::thread& taker : takers) taker.join();
    if (HasFailure()) return;
  }
}

struct Call {
  Deadline deadline;
  absl::Status answer;
  bool done = false;
  void Done() { done = true; }
};

void Answer(Call* call, absl::Status why) { call->answer = std::move(why); }

TEST(LaneInbox, WhatNobodyWaitsForIsAnsweredAndTakenOut) {
  const SteadyTime now = SteadyTime::Now();
  std::atomic<bool> left = true, stays = false;
  Call late{now - absl::Seconds(1)}, gone{{now + absl::Hours(1), &left}};
  Call here{{now + absl::Hours(1), &stays}}, patient;
  std::vector<Call*> group = {&late, &here, &gone, &patient};
  AnswerExpired(&group, Answer);
  EXPECT_THAT(group, ElementsAre(&here, &patient));
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.answer)) << late.answer;
  EXPECT_TRUE(absl::IsCancelled(gone.answer)) << gone.answer;
  EXPECT_TRUE(late.done && gone.done);
  EXPECT_FALSE(here.done || patient.done);
}

// A clock that is set by hand.
SteadyTime set_by_hand;

class StandingInbox : public testing::Test {
 protected:
  // Items wait until three groups have taken 100 ms each. A group has one of them, because of their
  // number or because of their bytes.
  void Stand(bool by_bytes = false, std::size_t bytes_of_last = 10) {
    inbox_.emplace(LaneInboxOptions{.group_items_max = by_bytes ? 100u : 1u,
                                    .group_bytes_max = by_bytes ? 10u : 1'000u,
                                    .sheds = true,
                                    .now = [] { return set_by_hand; }});
    set_by_hand = SteadyTime::Now();
    for (int i = 0; i < 8; ++i)
      EXPECT_TRUE(inbox_->Push(&calls_[i], i == 7 ? bytes_of_last : 10).ok());
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(inbox_->Take(&group_, &late_));
      EXPECT_THAT(group_, ElementsAre(&calls_[i]));
      EXPECT_THAT(late_, ElementsAre()) << "nobody had to be turned away";
      set_by_hand = set_by_hand + absl::Milliseconds(100);
    }
  }
  void TurnAway(int count) {
    for (int i = 0; i < count; ++i) EXPECT_EQ(ReasonOf(inbox_->Push(&more_, 1)), v1::OVERLOADED);
  }

  std::optional<LaneInbox<Call*>> inbox_;
  Call calls_[8], more_;
  std::vector<Call*> group_, late_;
};

TEST_F(StandingInbox, WhatHasWaitedForTooLongMakesRoom) {
  Stand();
  TurnAway(2);
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_THAT(late_, ElementsAre(&calls_[3], &calls_[4])) << "one for each";
  EXPECT_THAT(group_, ElementsAre(&calls_[5]));
  RefuseLate(late_, *inbox_, Answer);
  EXPECT_EQ(ReasonOf(calls_[3].answer), v1::OVERLOADED);
  EXPECT_TRUE(calls_[3].done && calls_[4].done);
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_THAT(late_, ElementsAre()) << "they have made room already";
}

TEST_F(StandingInbox, TwoGroupsStay) {
  for (const bool by_bytes : {false, true}) {
    Stand(by_bytes);
    TurnAway(10);
    EXPECT_TRUE(inbox_->Take(&group_, &late_));
    EXPECT_THAT(late_, ElementsAre(&calls_[3], &calls_[4], &calls_[5]));
    EXPECT_THAT(group_, ElementsAre(&calls_[6]));
    EXPECT_EQ(inbox_->size(), 1u);
  }
}

TEST_F(StandingInbox, OneThatIsLargerThanAGroupIsAGroup) {
  Stand(/*by_bytes=*/true, /*bytes_of_last=*/30);
  TurnAway(10);
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_EQ(inbox_->size(), 1u);
}

TEST_F(StandingInbox, NobodyMakesRoomForWhatIsLessImportant) {
  Stand();
  const auto turn_away = [&](Importance importance) {
    EXPECT_FALSE(inbox_->Check(SteadyTime::InfiniteFuture(), importance).ok());
    EXPECT_FALSE(inbox_->Check(SteadyTime::InfiniteFuture(), importance).ok()) << "it only asks";
    inbox_->TurnedAway(importance);
  };
  turn_away(Importance::kLow);
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_THAT(late_, ElementsAre());
  turn_away(Importance::kNormal);
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_THAT(late_, ElementsAre(&calls_[4]));
}

TEST_F(StandingInbox, WhenItIsClosedNobodyNeedsRoom) {
  Stand();
  TurnAway(10);
  inbox_->Close();
  EXPECT_TRUE(inbox_->Take(&group_, &late_));
  EXPECT_THAT(late_, ElementsAre());
  EXPECT_THAT(group_, ElementsAre(&calls_[3]));
}

TEST(LaneInbox, LosesNothingAndKeepsEachSendersOrder) {
  constexpr int kSenders = 8, kEach = 5000;
  LaneInbox<int> inbox({.items_max = 64, .group_items_max = 16});
  std::vector<std::thread> senders;
  for (int sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&inbox, sender] {
      for (int i = 0; i < kEach; ++i) {
        while (!inbox.Push(sender * kEach + i, 1).ok()) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kSenders, 0);
  int taken = 0;
  std::vector<int> group;
  while (taken < kSenders * kEach && inbox.Take(&group)) {
    EXPECT_LE(group.size(), 16u);
    for (const int item : group) EXPECT_EQ(item % kEach, next[item / kEach]++);
    taken += static_cast<int>(group.size());
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(inbox.size(), 0u);
}

}  // namespace
}  // namespace sessiond::db
