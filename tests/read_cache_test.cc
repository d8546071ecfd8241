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

CachedSession FindOne(ReadCache& cache, absl::string_view id, absl::Time now = kNow,
                      int openings = 1) {
  return cache.Find({id}, now, openings).front();
}

TEST(ReadCache, FindsWhatWasPutAndForgetsWhatWasNot) {
  ReadCache cache(kPlenty);
  const auto one = ASession(), two = ASession();
  cache.Put({"one", "two"}, {{one, 7}, {two, kNoPosition}}, kNow, 1);
  const auto cached = cache.Find({"two", "none", "one"}, kNow, 1);
  EXPECT_EQ(cached[0].session, two);
  EXPECT_EQ(cached[0].position, kNoPosition);
  EXPECT_EQ(cached[1].session, nullptr);
  EXPECT_EQ(cached[2].session, one);
  EXPECT_EQ(cached[2].position, 7);
  EXPECT_TRUE(cache.Knows({"one", "two"}));
  EXPECT_FALSE(cache.Knows({"one", "none"}));

  cache.Put({"one"}, {{nullptr, 8}}, kNow, 1);
  EXPECT_EQ(FindOne(cache, "one").session, nullptr);
  EXPECT_FALSE(cache.Knows({"one"}));
}

TEST(ReadCache, DoesNotKnowWhatTheAskerMayNotSee) {
  ReadCache cache(kPlenty);
  cache.Put({"one"}, {{ASession(), 7}}, kNow, 1);
  EXPECT_TRUE(cache.Knows({"one"}, Scope()));
  EXPECT_FALSE(cache.Knows({"one"}, Scope({"other"}, std::nullopt)));
}

TEST(ReadCache, KeepsASessionAsLongAsItLooksTheSame) {
  ReadCache cache(kPlenty);
  const absl::Time until = kNow + absl::Seconds(5);
  cache.Put({"one"}, {{ASession(until), 7}}, kNow, 1);
  EXPECT_NE(FindOne(cache, "one", until - absl::Nanoseconds(1)).session, nullptr);
  EXPECT_EQ(FindOne(cache, "one", until).session, nullptr);
  cache.Put({"one"}, {{ASession(kNow), 7}}, kNow, 1);
  EXPECT_FALSE(cache.Knows({"one"})) << "it does not hold any more";
}

TEST(ReadCache, WhatWasFoundUnchangedLaterIsKnownFromThereOn) {
  ReadCache cache(kPlenty);
  const auto session = ASession(), changed = ASession();
  for (const int64_t position : {7, 9, 8}) cache.Put({"one"}, {{session, position}}, kNow, 1);
  EXPECT_EQ(FindOne(cache, "one").position, 9) << "of two threads one may be late";
  cache.Put({"one"}, {{session, kNoPosition}}, kNow, 1);
  EXPECT_EQ(FindOne(cache, "one").position, 9);
  cache.Put({"one"}, {{changed, 8}}, kNow, 1);
  EXPECT_EQ(FindOne(cache, "one").session, changed);
  EXPECT_EQ(FindOne(cache, "one").position, 8) << "another session, and known since there only";
}

// Whether a connection was lost is not known before it is used: what was read before another one
// was opened may not be so for that one.
TEST(ReadCache, AConnectionCountsOnWhatWasReadSinceItWasOpened) {
  ReadCache cache(kPlenty);
  const int older = cache.Opened();
  const auto session = ASession();
  cache.Put({"one"}, {{session, 7}}, kNow, older);
  const int newer = cache.Opened();
  EXPECT_EQ(FindOne(cache, "one", kNow, older).session, session);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).session, nullptr);
  EXPECT_TRUE(cache.Knows({"one"}));

  cache.Put({"one"}, {{session, 8}}, kNow, older);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).session, nullptr) << "found before it was opened";
  cache.Put({"one"}, {{session, 8}}, kNow, newer);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).session, session);
  cache.Put({"one"}, {{session, 7}}, kNow, older);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).session, session) << "of two threads one was late";
}

// The older one may still lead to a server that has other changes there.
TEST(ReadCache, WhereAnOlderConnectionFoundItUnchangedANewerOneDoesNotCountOn) {
  ReadCache cache(kPlenty);
  const int older = cache.Opened(), newer = cache.Opened();
  const auto session = ASession();
  cache.Put({"one"}, {{session, 9}}, kNow, older);
  cache.Put({"one"}, {{session, 8}}, kNow, newer);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).position, 8);
  cache.Put({"one"}, {{session, 9}}, kNow, older);
  EXPECT_EQ(FindOne(cache, "one", kNow, newer).position, 8);
}

}  // namespace
}  // namespace sessiond::db
