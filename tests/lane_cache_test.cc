// What a lane remembers, and for how long; and what time it believes it is.
#include "db/write/lane_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/base/database_clock.h"
#include "db/base/steady_time.h"
#include "db/base/two_queues.h"

namespace sessiond::db {
namespace {

constexpr int16_t kHere = 3, kThere = 4;

v1::Session SessionCalled(const std::string& session_id) {
  v1::Session session;
  session.set_session_id(session_id);
  session.set_stage("upload");
  (*session.mutable_counters())["tickets"] = 7;
  return session;
}

std::string KeyOf(int number) {
  std::string key = absl::StrCat(number);
  key.resize(16, '.');
  return key;
}

// As groups do that find the partition, add `events`, and commit.
void Pass(LaneCache& cache, int16_t partition, int64_t position, int64_t events = 1) {
  cache.Observe(partition, position);
  cache.Advance(partition, position + events);
}

// Passes until the partition can be counted on; answers where it stands then.
int64_t Settle(LaneCache& cache, int16_t partition, int64_t position) {
  for (; !cache.PositionOf(partition).has_value(); ++position) {
    EXPECT_LT(position, 1000);
    Pass(cache, partition, position);
  }
  return position;
}

TEST(LaneCache, CountsOnAPartitionThatNobodyElseHasMovedForAWhile) {
  LaneCache cache(1000);
  EXPECT_FALSE(cache.Observe(kHere, 0)) << "it was not known";
  cache.Advance(kHere, 1);
  EXPECT_TRUE(cache.Observe(kHere, 1));
  EXPECT_FALSE(cache.PositionOf(kHere).has_value()) << "that may have been chance";
  const int64_t position = Settle(cache, kHere, 1);
  EXPECT_EQ(cache.PositionOf(kHere), position);
  EXPECT_FALSE(cache.PositionOf(kThere).has_value());

  EXPECT_FALSE(cache.Observe(kHere, position + 1));
  EXPECT_FALSE(cache.PositionOf(kHere).has_value());
  const int64_t again = Settle(cache, kHere, position + 1);
  EXPECT_EQ(cache.PositionOf(kHere), again);
}

TEST(LaneCache, FindsWhatWasKeptUntilSomebodyElseHasBeenThere) {
  LaneCache cache(1000);
  Pass(cache, kHere, 0);
  Pass(cache, kThere, 0);
  cache.Put(kHere, SessionCalled("a"), false);
  cache.Put(kThere, SessionCalled("b"), false);
  const auto session = cache.Get(kHere, "a");
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ(session->DebugString(), SessionCalled("a").DebugString());
  EXPECT_FALSE(cache.Get(kHere, "c").has_value());

  cache.Observe(kHere, 2);
  EXPECT_FALSE(cache.Get(kHere, "a").has_value());
  EXPECT_TRUE(cache.Get(kThere, "b").has_value());
  cache.Erase("b");
  EXPECT_FALSE(cache.Get(kThere, "b").has_value());
  cache.Put(kThere, SessionCalled("b"), false);
  cache.Clear();
  EXPECT_FALSE(cache.Get(kThere, "b").has_value());
}

TEST(LaneCache, KeepsNothingThatChangesWithoutAnEventOrIsMoreThanItsMessage) {
  LaneCache cache(1000);
  Pass(cache, kHere, 0);
  v1::Session session = SessionCalled("a");
  cache.Put(kHere, session, false);
  cache.Put(kHere, session, /*blocking_errors=*/true);
  EXPECT_FALSE(cache.Get(kHere, "a").has_value()) << "and what it was before is gone";
  session.mutable_current_task()->set_status(v1::SessionTask::RUNNING);
  cache.Put(kHere, session, false);
  EXPECT_FALSE(cache.Get(kHere, "a").has_value());
  session.mutable_current_task()->set_status(v1::SessionTask::FAILED);
  cache.Put(kHere, session, false);
  EXPECT_TRUE(cache.Get(kHere, "a").has_value());
}

TEST(TwoQueues, DropsWhatWasNotWantedForLongestWhenItIsFull) {
  constexpr int kBytesMax = 100'000, kBytes = 50;
  TwoQueues<int> cache(kBytesMax);
  for (int i = 0; i < 1000; ++i) {
    cache.Put(absl::StrCat(i), i, kBytes);
    EXPECT_NE(cache.Find("0"), nullptr) << "it is wanted all the time";
  }
  ASSERT_NE(cache.Find("999"), nullptr);
  EXPECT_EQ(*cache.Find("999"), 999);
  EXPECT_EQ(cache.Find("1"), nullptr);
  int left = 0;
  for (int i = 0; i < 1000; ++i) left += cache.Peek(absl::StrCat(i)) != nullptr ? 1 : 0;
  EXPECT_GT(left, 200);
  EXPECT_LT(left, 900);

  cache.Put("large", 0, kBytesMax);
  EXPECT_EQ(cache.Find("large"), nullptr);
  EXPECT_NE(cache.Find("999"), nullptr) << "nobody has to go for what does not fit";
  TwoQueues<int> none(0);
  none.Put("a", 1, 0);
  EXPECT_EQ(none.Find("a"), nullptr);
}

TEST(TwoQueues, WhatIsInUseStaysThoughManyNewOnesCome) {
  constexpr int kBytes = 50;
  TwoQueues<int> cache(100'000);
  const auto is_cached = [&](absl::string_view key) { return cache.Find(key) != nullptr; };
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat("in use ", i);
    cache.Put(key, i, kBytes);
    // Wanted again, to be read or, as by a repeated write, to be put again.
    if (i % 2 == 0) {
      ASSERT_TRUE(is_cached(key));
    } else {
      cache.Put(key, i, kBytes);
    }
  }
  for (int i = 0; i < 10'000; ++i) cache.Put(absl::StrCat("new ", i), i, kBytes);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(is_cached(absl::StrCat("in use ", i))) << i;
  EXPECT_FALSE(is_cached("new 5000"));
  // Of the new ones at least the last fifth; those that are wanted again take the place of others.
  for (int i = 9'950; i < 10'000; ++i) EXPECT_TRUE(is_cached(absl::StrCat("new ", i))) << i;
  for (int i = 0; i < 10'000; ++i) {
    cache.Put(absl::StrCat("newer ", i), i, kBytes);
    ASSERT_TRUE(is_cached(absl::StrCat("newer ", i)));
  }
  EXPECT_FALSE(is_cached("in use 0"));
}

TEST(LaneCache, KnowsTheLastRequests) {
  LaneCache cache(0);
  EXPECT_FALSE(cache.HasRequest(KeyOf(1)));
  for (int i = 0; i < 100'000; ++i) {
    cache.PutRequest(KeyOf(i));
    ASSERT_TRUE(cache.HasRequest(KeyOf(std::max(0, i - 10'000))));
  }
  EXPECT_FALSE(cache.HasRequest(KeyOf(1))) << "but not all there ever were";
}

TEST(DatabaseClock, GoesOnFromWhatItReadAndNeverAhead) {
  DatabaseClock clock;
  EXPECT_FALSE(clock.Now().has_value());
  // An hour behind this machine's, and nothing that it says is ahead of it.
  const auto database_now = [] { return absl::Now() - absl::Hours(1); };
  const absl::Time first = absl::FromUnixMicros(absl::ToUnixMicros(database_now()));
  clock.Read(first);
  absl::Time now = *clock.Now();
  EXPECT_GE(now, first);
  EXPECT_LE(now, database_now());
  // An answer that took a second to arrive does not set it back.
  clock.Read(database_now() - absl::Seconds(1));
  now = *clock.Now();
  EXPECT_GE(now, first);
  EXPECT_LE(now, database_now());
  EXPECT_EQ(now, absl::FromUnixMicros(absl::ToUnixMicros(now)));
  clock.Forget();
  EXPECT_FALSE(clock.Now().has_value());
}

TEST(DatabaseClock, FollowsOneThatIsSetBackAndKnowsWhenItHasHeardNothing) {
  DatabaseClock clock;
  const absl::Time noon = absl::FromUnixSeconds(1'800'000'000);
  const SteadyTime start = SteadyTime::Now();
  for (int second = 0; second < 100; ++second) {
    const SteadyTime now = start + absl::Seconds(second);
    clock.Read(noon + absl::Seconds(second), now);
    EXPECT_EQ(*clock.Now(now), noon + absl::Seconds(second));
    EXPECT_EQ(*clock.Now(now + absl::Seconds(7)), noon + absl::Seconds(second + 7));
  }
  EXPECT_FALSE(clock.Now(start + absl::Seconds(140)).has_value());
  for (int second = 140; second < 200; ++second) clock.Read(noon, start + absl::Seconds(second));
  EXPECT_LT(*clock.Now(start + absl::Seconds(200)), noon + absl::Seconds(32));
}

TEST(DatabaseClock, EstimatesLongAfterItHasHeardNothing) {
  DatabaseClock clock;
  EXPECT_LT(absl::AbsDuration(clock.Estimate() - absl::Now()), absl::Minutes(1));
  const absl::Time noon = absl::FromUnixSeconds(1'800'000'000);
  const SteadyTime start = SteadyTime::Now();
  clock.Read(noon, start);
  EXPECT_EQ(clock.Estimate(start + absl::Hours(7)), noon + absl::Hours(7));
  clock.Forget();
  EXPECT_EQ(clock.Estimate(start + absl::Hours(8)), noon + absl::Hours(8));
}

TEST(SteadyTime, EndsAtTheInfinitiesAndDoesNotLeaveThem) {
  const SteadyTime now = SteadyTime::Now();
  constexpr SteadyTime kPast = SteadyTime::InfinitePast(), kFuture = SteadyTime::InfiniteFuture();
  EXPECT_LT(kPast, now);
  EXPECT_LT(now, kFuture);
  EXPECT_EQ(now + absl::InfiniteDuration(), kFuture);
  EXPECT_EQ(now - absl::InfiniteDuration(), kPast);
  EXPECT_EQ(now + absl::Hours(24 * 365 * 300), kFuture);
  EXPECT_EQ(kFuture - absl::Hours(1), kFuture);
  EXPECT_EQ(kPast + absl::Hours(1), kPast);
  EXPECT_EQ(kFuture - now, absl::InfiniteDuration());
  EXPECT_EQ(now - kPast, absl::InfiniteDuration());
  EXPECT_EQ((now + absl::Seconds(3)) - now, absl::Seconds(3));
}

TEST(SteadyEvent, IsAwaitedForSoLongAndNoLonger) {
  SteadyEvent event;
  EXPECT_FALSE(event.WaitAtMost(absl::Milliseconds(1)));
  std::thread other([&] { event.Notify(); });
  EXPECT_TRUE(event.WaitAtMost(absl::InfiniteDuration()));
  EXPECT_TRUE(event.HasHappened());
  other.join();
}

}  // namespace
}  // namespace sessiond::db
