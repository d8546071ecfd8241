// What a lane remembers, and for how long; and what time it believes it is.
#include "db/lane_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/database_clock.h"

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
void Pass(LaneMemory& memory, int16_t partition, int64_t position, int64_t events = 1) {
  memory.Found(partition, position);
  memory.Left(partition, position + events);
}

// Passes until the partition can be counted on; answers where it stands then.
int64_t Settle(LaneMemory& memory, int16_t partition, int64_t position) {
  for (; !memory.PositionOf(partition).has_value(); ++position) {
    EXPECT_LT(position, 1000);
    Pass(memory, partition, position);
  }
  return position;
}

TEST(LaneMemory, CountsOnAPartitionThatNobodyElseHasMovedForAWhile) {
  LaneMemory memory(1000);
  EXPECT_FALSE(memory.Found(kHere, 0)) << "it was not known";
  memory.Left(kHere, 1);
  EXPECT_TRUE(memory.Found(kHere, 1));
  EXPECT_FALSE(memory.PositionOf(kHere).has_value()) << "that may have been chance";
  const int64_t position = Settle(memory, kHere, 1);
  EXPECT_EQ(memory.PositionOf(kHere), position);
  EXPECT_FALSE(memory.PositionOf(kThere).has_value());

  EXPECT_FALSE(memory.Found(kHere, position + 1));
  EXPECT_FALSE(memory.PositionOf(kHere).has_value());
  const int64_t again = Settle(memory, kHere, position + 1);
  EXPECT_EQ(memory.PositionOf(kHere), again);
}

TEST(LaneMemory, FindsWhatWasKeptUntilSomebodyElseHasBeenThere) {
  LaneMemory memory(1000);
  Pass(memory, kHere, 0);
  Pass(memory, kThere, 0);
  memory.Keep(kHere, SessionCalled("a"), false);
  memory.Keep(kThere, SessionCalled("b"), false);
  v1::Session session;
  ASSERT_TRUE(memory.Find(kHere, "a", &session));
  EXPECT_EQ(session.DebugString(), SessionCalled("a").DebugString());
  EXPECT_FALSE(memory.Find(kHere, "c", &session));

  memory.Found(kHere, 2);
  EXPECT_FALSE(memory.Find(kHere, "a", &session));
  EXPECT_TRUE(memory.Find(kThere, "b", &session));
  memory.Forget(kThere);
  EXPECT_FALSE(memory.Find(kThere, "b", &session));
  memory.Keep(kThere, SessionCalled("b"), false);
  memory.Drop("b");
  EXPECT_FALSE(memory.Find(kThere, "b", &session));
  memory.Keep(kThere, SessionCalled("b"), false);
  memory.Clear();
  EXPECT_FALSE(memory.Find(kThere, "b", &session));
}

TEST(LaneMemory, KeepsNothingThatChangesWithoutAnEventOrIsMoreThanItsMessage) {
  LaneMemory memory(1000);
  Pass(memory, kHere, 0);
  v1::Session session = SessionCalled("a"), found;
  memory.Keep(kHere, session, false);
  memory.Keep(kHere, session, /*blocking_errors=*/true);
  EXPECT_FALSE(memory.Find(kHere, "a", &found)) << "and what it was before is gone";
  session.mutable_current_task()->set_status(v1::SessionTask::RUNNING);
  memory.Keep(kHere, session, false);
  EXPECT_FALSE(memory.Find(kHere, "a", &found));
  session.mutable_current_task()->set_status(v1::SessionTask::FAILED);
  memory.Keep(kHere, session, false);
  EXPECT_TRUE(memory.Find(kHere, "a", &found));
}

TEST(LaneMemory, DropsWhatWasNotWantedForLongestWhenItIsFull) {
  const std::size_t one = 1 + SessionCalled("a").ByteSizeLong();
  LaneMemory memory(3 * one);
  Pass(memory, kHere, 0);
  for (const char* id : {"a", "b", "c"}) memory.Keep(kHere, SessionCalled(id), false);
  v1::Session session;
  EXPECT_TRUE(memory.Find(kHere, "a", &session));
  memory.Keep(kHere, SessionCalled("d"), false);
  EXPECT_TRUE(memory.Find(kHere, "a", &session));
  EXPECT_FALSE(memory.Find(kHere, "b", &session));
  EXPECT_TRUE(memory.Find(kHere, "c", &session));
  EXPECT_TRUE(memory.Find(kHere, "d", &session));

  v1::Session large = SessionCalled("e");
  large.set_status(std::string(3 * one, 'x'));
  memory.Keep(kHere, large, false);
  EXPECT_FALSE(memory.Find(kHere, "e", &session));
  EXPECT_TRUE(memory.Find(kHere, "d", &session)) << "nobody has to go for what does not fit";
  LaneMemory none(0);
  Pass(none, kHere, 0);
  none.Keep(kHere, SessionCalled("a"), false);
  EXPECT_FALSE(none.Find(kHere, "a", &session));
}

TEST(LaneMemory, KnowsTheLastRequests) {
  LaneMemory memory(0);
  EXPECT_FALSE(memory.FindRequest(KeyOf(1)));
  for (int i = 0; i < 100'000; ++i) {
    memory.KeepRequest(KeyOf(i));
    ASSERT_TRUE(memory.FindRequest(KeyOf(std::max(0, i - 10'000))));
  }
  EXPECT_FALSE(memory.FindRequest(KeyOf(1))) << "but not all there ever were";
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

}  // namespace
}  // namespace sessiond::db
