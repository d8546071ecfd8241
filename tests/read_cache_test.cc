// What a read lane keeps for its threads: for how long, and from when.
#include "db/read/read_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace sessiond::db {
namespace {

constexpr std::size_t kPlenty = 1 << 20;
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

std::shared_ptr<const PresentedSession> ASession(absl::Time until = absl::InfiniteFuture()) {
  return std::make_shared<const PresentedSession>(
      PresentedSession{.bytes = "bytes", .sequence = 1, .deleted = false, .until = until});
}

KeptSession RecallOne(ReadCache& memory, absl::string_view id, absl::Time now = kNow,
                      int openings = 1) {
  return memory.Recall({id}, now, openings).front();
}

TEST(ReadCache, RecallsWhatWasFoundAndForgetsWhatWasNot) {
  ReadCache memory(kPlenty);
  const auto one = ASession(), two = ASession();
  memory.Keep({"one", "two"}, {{one, 7}, {two, kNowhere}}, kNow, 1);
  const auto recalled = memory.Recall({"two", "none", "one"}, kNow, 1);
  EXPECT_EQ(recalled[0].session, two);
  EXPECT_EQ(recalled[0].position, kNowhere);
  EXPECT_EQ(recalled[1].session, nullptr);
  EXPECT_EQ(recalled[2].session, one);
  EXPECT_EQ(recalled[2].position, 7);
  EXPECT_TRUE(memory.Knows({"one", "two"}));
  EXPECT_FALSE(memory.Knows({"one", "none"}));

  memory.Keep({"one"}, {{nullptr, 8}}, kNow, 1);
  EXPECT_EQ(RecallOne(memory, "one").session, nullptr);
  EXPECT_FALSE(memory.Knows({"one"}));
}

TEST(ReadCache, DoesNotKnowWhatTheAskerMayNotSee) {
  ReadCache memory(kPlenty);
  memory.Keep({"one"}, {{ASession(), 7}}, kNow, 1);
  EXPECT_TRUE(memory.Knows({"one"}, Scope()));
  EXPECT_FALSE(memory.Knows({"one"}, Scope({"other"}, std::nullopt)));
}

TEST(ReadCache, KeepsASessionAsLongAsItLooksTheSame) {
  ReadCache memory(kPlenty);
  const absl::Time until = kNow + absl::Seconds(5);
  memory.Keep({"one"}, {{ASession(until), 7}}, kNow, 1);
  EXPECT_NE(RecallOne(memory, "one", until - absl::Nanoseconds(1)).session, nullptr);
  EXPECT_EQ(RecallOne(memory, "one", until).session, nullptr);
  memory.Keep({"one"}, {{ASession(kNow), 7}}, kNow, 1);
  EXPECT_FALSE(memory.Knows({"one"})) << "it does not hold any more";
}

TEST(ReadCache, WhatWasFoundUnchangedLaterIsKnownFromThereOn) {
  ReadCache memory(kPlenty);
  const auto session = ASession(), changed = ASession();
  for (const int64_t position : {7, 9, 8}) memory.Keep({"one"}, {{session, position}}, kNow, 1);
  EXPECT_EQ(RecallOne(memory, "one").position, 9) << "of two threads one may be late";
  memory.Keep({"one"}, {{session, kNowhere}}, kNow, 1);
  EXPECT_EQ(RecallOne(memory, "one").position, 9);
  memory.Keep({"one"}, {{changed, 8}}, kNow, 1);
  EXPECT_EQ(RecallOne(memory, "one").session, changed);
  EXPECT_EQ(RecallOne(memory, "one").position, 8) << "another session, and known since there only";
}

// Whether a connection was lost is not known before it is used: what was read before another one
// was opened may not be so for that one.
TEST(ReadCache, AConnectionCountsOnWhatWasReadSinceItWasOpened) {
  ReadCache memory(kPlenty);
  const int older = memory.Opened();
  const auto session = ASession();
  memory.Keep({"one"}, {{session, 7}}, kNow, memory.openings());
  const int newer = memory.Opened();
  EXPECT_EQ(memory.openings(), newer);
  EXPECT_EQ(RecallOne(memory, "one", kNow, older).session, session);
  EXPECT_EQ(RecallOne(memory, "one", kNow, newer).session, nullptr);
  EXPECT_TRUE(memory.Knows({"one"}));

  memory.Keep({"one"}, {{session, 8}}, kNow, older);
  EXPECT_EQ(RecallOne(memory, "one", kNow, newer).session, nullptr) << "found before it was opened";
  memory.Keep({"one"}, {{session, 8}}, kNow, newer);
  EXPECT_EQ(RecallOne(memory, "one", kNow, newer).session, session);
  memory.Keep({"one"}, {{session, 7}}, kNow, older);
  EXPECT_EQ(RecallOne(memory, "one", kNow, newer).session, session)
      << "of two threads one was late";
}

}  // namespace
}  // namespace sessiond::db
