// The hub alone, with made-up changes: nothing missed, nothing twice, nothing out of order,
// whatever comes late, early, twice or from another daemon, and however slow a watch is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/watch/hub.h"
#include "server/watch/watching.h"

namespace sessiond::watch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

constexpr int kPartitions = 4;
const SteadyTime kNow = SteadyTime::Now();

using Place = std::pair<int16_t, int64_t>;

// What is stored is sent in parts, of which none is left out and none comes twice.
TEST(FirstOf, TakesSoManyPositionsAndTakeOffLeavesTheRest) {
  std::vector<Range> ranges = {{0, 10, 15}, {1, 0, 1}, {3, 7, 20}};
  std::vector<std::vector<std::string>> parts;
  while (!ranges.empty()) {
    std::vector<std::string>& part = parts.emplace_back();
    const std::vector<Range> first = FirstOf(ranges, 4);
    for (const Range& range : first)
      part.push_back(absl::StrCat(range.partition, ": ", range.after, "-", range.upto));
    TakeOff(first, &ranges);
  }
  EXPECT_THAT(
      parts, ElementsAre(ElementsAre("0: 10-14"), ElementsAre("0: 14-15", "1: 0-1", "3: 7-9"),
                         ElementsAre("3: 9-13"), ElementsAre("3: 13-17"), ElementsAre("3: 17-20")));
}

ChangePtr MakeChange(int16_t partition, int64_t position, const std::string& owner = "ada") {
  auto session = std::make_shared<v1::Session>();
  session->set_session_id(absl::StrCat("00000000-0000-0000-0000-00000000000", partition));
  session->set_namespace_("default");
  session->set_owner_id(owner);
  session->set_state(v1::Session::ACTIVE);
  session->set_sequence(static_cast<int32_t>(position));
  auto change = std::make_shared<Change>();
  change->partition = partition;
  change->position = position;
  change->event.set_session_id(session->session_id());
  change->event.set_sequence(session->sequence());
  change->event.set_type(v1::SessionEvent::UPDATED);
  change->before = change->after = change->session = session;
  return change;
}

std::shared_ptr<const Interest> In(const std::string& filter) {
  v1::WatchSessionsRequest request;
  request.set_filter(filter);
  return Interest::Of(request, {}, kPartitions).value();
}

class HubTest : public testing::Test {
 protected:
  // What a stream would be.
  struct Watch {
    SubscriptionPtr subscription;
    std::shared_ptr<int> wakes = std::make_shared<int>(0);
  };

  void Make(HubOptions options) {
    options.partition_count = kPartitions;
    options.on_missing = [this] { ++missing_; };
    hub_ = std::make_unique<Hub>(options, listener_);
  }

  Watch Begin(const std::string& filter = "", Positions from = Positions(kPartitions),
              std::optional<Positions> now = std::nullopt) {
    Watch watch;
    watch.subscription = hub_->Subscribe(In(filter), from, now.value_or(from), kNow,
                                         absl::Seconds(10), [wakes = watch.wakes] { ++*wakes; });
    return watch;
  }

  void Publish(const std::vector<Place>& places) {
    std::vector<ChangePtr> changes;
    for (const auto& [partition, position] : places)
      changes.push_back(MakeChange(partition, position));
    hub_->Publish(std::move(changes));
  }

  void Fill(const std::vector<Range>& ranges, const std::vector<Place>& places) {
    std::vector<ChangePtr> changes;
    for (const auto& [partition, position] : places)
      changes.push_back(MakeChange(partition, position));
    hub_->Fill(ranges, std::move(changes));
  }

  // Everything there is to take from memory.
  std::vector<Place> TakeAll(Watch& watch) {
    std::vector<Place> places;
    for (;;) {
      const Taken taken = hub_->Take(*watch.subscription);
      EXPECT_THAT(taken.unread, IsEmpty());
      for (const Delivery& delivery : taken.deliveries)
        places.emplace_back(delivery.change->partition, delivery.change->position);
      if (taken.deliveries.empty() && !taken.more) return places;
    }
  }

  db::CommittedListener listener_;
  int missing_ = 0;
  std::unique_ptr<Hub> hub_;
};

std::vector<Range> MissingOf(const Hub& hub) { return hub.Missing(1000); }

MATCHER_P3(IsRange, partition, after, upto, "") {
  return arg.partition == partition && arg.after == after && arg.upto == upto;
}

TEST_F(HubTest, AWatchIsWokenOnceAndTakesWhatItWantsInOrder) {
  Make({});
  Watch watch = Begin("owner_id = \"ada\"");
  EXPECT_THAT(TakeAll(watch), IsEmpty());
  hub_->Publish({MakeChange(0, 1), MakeChange(0, 2, "bob"), MakeChange(1, 1), MakeChange(0, 3)});
  EXPECT_EQ(*watch.wakes, 1);
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 1), Pair(1, 1), Pair(0, 3)));
  EXPECT_THAT(TakeAll(watch), IsEmpty());
}

TEST_F(HubTest, PositionsMoveOnOverWhatIsNotWanted) {
  Make({});
  Watch watch = Begin("owner_id = \"ada\"");
  TakeAll(watch);
  hub_->Publish({MakeChange(0, 1, "bob"), MakeChange(2, 1, "bob")});
  EXPECT_EQ(*watch.wakes, 0);
  EXPECT_THAT(hub_->Take(*watch.subscription).positions, ElementsAre(1, 0, 1, 0));
  hub_->Publish({MakeChange(0, 2)});
  EXPECT_THAT(hub_->Take(*watch.subscription).positions, ElementsAre(2, 0, 1, 0));
}

TEST_F(HubTest, WhatComesEarlyWaitsForWhatIsMissing) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  const int before = missing_;
  Publish({{0, 3}, {0, 4}, {1, 1}});
  EXPECT_EQ(missing_, before + 1);
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(1, 1)));
  EXPECT_THAT(MissingOf(*hub_), ElementsAre(IsRange(0, 0, 2)));
  Fill({{0, 0, 2}}, {{0, 1}, {0, 2}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 1), Pair(0, 2), Pair(0, 3), Pair(0, 4)));
  EXPECT_THAT(MissingOf(*hub_), IsEmpty());
}

TEST_F(HubTest, WhatComesFromMemoryAndFromTheDatabaseIsToldOnce) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  hub_->Saw({2, 0, 0, 0});
  EXPECT_THAT(MissingOf(*hub_), ElementsAre(IsRange(0, 0, 2)));
  Publish({{0, 1}});
  Fill({{0, 0, 2}}, {{0, 1}, {0, 2}});
  Publish({{0, 2}, {0, 3}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 1), Pair(0, 2), Pair(0, 3)));
}

TEST_F(HubTest, MissingIsSharedOutAmongPartitions) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  hub_->Saw({1000, 0, 3, 0});
  EXPECT_THAT(hub_->Missing(10), ElementsAre(IsRange(0, 0, 5), IsRange(2, 0, 3)));
  EXPECT_THAT(hub_->Missing(1), ElementsAre(IsRange(0, 0, 1)));
  EXPECT_THAT(hub_->Missing(1, /*first=*/1), ElementsAre(IsRange(2, 0, 1)));
  EXPECT_THAT(hub_->Missing(5, /*first=*/1), ElementsAre(IsRange(0, 0, 3), IsRange(2, 0, 2)));
  EXPECT_THAT(hub_->Missing(1, /*first=*/4), ElementsAre(IsRange(0, 0, 1)));
}

TEST_F(HubTest, WhatWasRemovedIsNoGap) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  Fill({{0, 0, 6}, {1, 0, 9000}}, {{0, 2}, {0, 5}, {1, 9000}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 2), Pair(0, 5), Pair(1, 9000)));
  Publish({{0, 7}, {1, 9001}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 7), Pair(1, 9001)));
}

TEST_F(HubTest, ASlowWatchFallsBehindAndGoesOnFromTheLog) {
  Make({.queue_max = 4});
  Watch watch = Begin();
  TakeAll(watch);
  std::vector<Place> places;
  for (int64_t position = 1; position <= 200; ++position) places.emplace_back(0, position);
  Publish(places);
  EXPECT_EQ(*watch.wakes, 1);
  EXPECT_EQ(TakeAll(watch), places);
  Publish({{0, 201}});
  EXPECT_EQ(*watch.wakes, 2) << "it is live again";
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 201)));
}

// A stream whose client does not read keeps alive what it took.
TEST_F(HubTest, LargeChangesAreTakenAFewAtATime) {
  Make({.queue_max = 100});
  Watch live = Begin(), late = Begin();
  TakeAll(live);
  std::vector<ChangePtr> changes;
  std::vector<Place> places;
  for (int64_t position = 1; position <= 10; ++position) {
    changes.push_back(MakeChange(0, position, std::string(25'000, 'x')));
    places.emplace_back(0, position);
  }
  hub_->Publish(std::move(changes));
  for (Watch* watch : {&live, &late}) {
    const Taken first = hub_->Take(*watch->subscription);
    EXPECT_THAT(first.deliveries, SizeIs(2));
    EXPECT_TRUE(first.more);
    std::vector<Place> rest = TakeAll(*watch);
    rest.insert(rest.begin(), places.begin(), places.begin() + 2);
    EXPECT_EQ(rest, places);
  }
}

TEST_F(HubTest, WhatIsNoMoreInTheLogIsToBeReadFromTheDatabase) {
  Make({.log_bytes_max = 1, .queue_max = 4});
  Watch watch = Begin();
  TakeAll(watch);
  Publish({{0, 1}, {0, 2}, {0, 3}});
  Taken taken = hub_->Take(*watch.subscription);
  EXPECT_THAT(taken.deliveries, IsEmpty());
  ASSERT_THAT(taken.unread, ElementsAre(IsRange(0, 0, 3)));
  hub_->Advance(*watch.subscription, taken.unread);
  EXPECT_THAT(TakeAll(watch), IsEmpty());
  Publish({{0, 4}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 4)));
}

TEST_F(HubTest, AWatchThatIsAheadOfTheHubGetsNothingTwice) {
  Make({});
  Watch first = Begin();
  TakeAll(first);
  Watch ahead = Begin("", {2, 0, 0, 0}, Positions{2, 0, 0, 0});
  EXPECT_THAT(TakeAll(ahead), IsEmpty());
  Publish({{0, 1}, {0, 2}, {0, 3}});
  EXPECT_THAT(TakeAll(ahead), ElementsAre(Pair(0, 3)));
  EXPECT_THAT(TakeAll(first), ElementsAre(Pair(0, 1), Pair(0, 2), Pair(0, 3)));
}

TEST_F(HubTest, WhatIsReadAheadOfTheHubIsToldOnce) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  Publish({{0, 1}, {1, 1}, {0, 2}});
  hub_->Advance(*watch.subscription, {{0, 0, 3}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(1, 1)));
  Publish({{0, 3}, {0, 4}});
  EXPECT_THAT(TakeAll(watch), ElementsAre(Pair(0, 4)));
}

TEST_F(HubTest, NothingIsCopiedWhileNobodyWatches) {
  Make({});
  EXPECT_FALSE(listener_.listening);
  Watch watch = Begin();
  EXPECT_TRUE(listener_.listening);
  hub_->Unsubscribe(watch.subscription);
  EXPECT_FALSE(listener_.listening);
  Publish({{0, 7}});
  EXPECT_THAT(MissingOf(*hub_), IsEmpty());
  Watch later = Begin("", {7, 0, 0, 0});
  EXPECT_THAT(TakeAll(later), IsEmpty());
}

TEST_F(HubTest, ASilentWatchIsWoken) {
  Make({});
  Watch watch = Begin();
  TakeAll(watch);
  EXPECT_EQ(hub_->Beat(kNow + absl::Seconds(9)), kNow + absl::Seconds(10));
  EXPECT_EQ(*watch.wakes, 0);
  watch.subscription->Spoke(kNow + absl::Seconds(5));
  EXPECT_EQ(hub_->Beat(kNow + absl::Seconds(10)), kNow + absl::Seconds(15));
  EXPECT_EQ(*watch.wakes, 0);
  EXPECT_EQ(hub_->Beat(kNow + absl::Seconds(15)), kNow + absl::Seconds(25));
  EXPECT_EQ(*watch.wakes, 1);
}

// A watch that takes when it likes, leaves, and comes back with where it stood.
class Reader {
 public:
  Reader(Hub& hub, const std::vector<std::vector<ChangePtr>>& database, std::string owner)
      : hub_(hub), database_(database), owner_(std::move(owner)) {
    at_.resize(kPartitions);
    Come();
  }
  ~Reader() { hub_.Unsubscribe(subscription_); }

  void Come() {
    Positions now;
    for (const auto& partition : database_) now.push_back(static_cast<int64_t>(partition.size()));
    const std::string filter = owner_.empty() ? "" : absl::StrCat("owner_id = \"", owner_, "\"");
    subscription_ = hub_.Subscribe(In(filter), at_, now, kNow, absl::Hours(1), [] {});
  }
  void Leave() { hub_.Unsubscribe(subscription_); }

  // One step of a stream. False: it would wait.
  bool Step() {
    const Taken taken = hub_.Take(*subscription_);
    for (const Delivery& delivery : taken.deliveries) Get(*delivery.change);
    at_ = taken.positions;
    for (const Range& range : taken.unread) {
      for (int64_t position = range.after + 1; position <= range.upto; ++position) {
        const Change& change = *database_[range.partition][position - 1];
        if (subscription_->interest().Judge(change).has_value()) Get(change);
      }
      at_[range.partition] = range.upto;
    }
    hub_.Advance(*subscription_, taken.unread);
    return !taken.deliveries.empty() || taken.more || !taken.unread.empty();
  }

  // What it got is all that it wants of the database.
  void Check() const {
    std::vector<std::vector<int64_t>> wanted(kPartitions);
    for (const auto& partition : database_) {
      for (const ChangePtr& change : partition) {
        if (owner_.empty() || change->after->owner_id() == owner_)
          wanted[change->partition].push_back(change->position);
      }
    }
    EXPECT_EQ(got_, wanted);
  }

 private:
  void Get(const Change& change) {
    got_[change.partition].push_back(change.position);
    at_[change.partition] = change.position;
  }

  Hub& hub_;
  const std::vector<std::vector<ChangePtr>>& database_;
  const std::string owner_;
  SubscriptionPtr subscription_;
  Positions at_;
  std::vector<std::vector<int64_t>> got_ = std::vector<std::vector<int64_t>>(kPartitions);
};

class RandomHub : public HubTest, public testing::WithParamInterface<int> {};

TEST_P(RandomHub, MissesNothingAndRepeatsNothing) {
  std::mt19937 random(GetParam());
  const auto below = [&](int bound) { return static_cast<int>(random() % bound); };
  Make({.log_bytes_max = static_cast<std::size_t>(below(3) == 0 ? 1 : 20'000),
        .queue_max = static_cast<std::size_t>(1 + below(20)),
        .early_max = static_cast<std::size_t>(1 + below(5))});
  std::vector<std::vector<ChangePtr>> database(kPartitions);
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(
        std::make_unique<Reader>(*hub_, database, i == 0 ? "" : absl::StrCat("owner", i % 4)));
  }
  const auto poll = [&](int events_max) {
    Positions now;
    for (const auto& partition : database) now.push_back(static_cast<int64_t>(partition.size()));
    hub_->Saw(now);
    const std::vector<Range> ranges = hub_->Missing(events_max);
    std::vector<ChangePtr> changes;
    for (const Range& range : ranges) {
      changes.insert(changes.end(), database[range.partition].begin() + range.after,
                     database[range.partition].begin() + range.upto);
    }
    hub_->Fill(ranges, std::move(changes));
    return !ranges.empty();
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<ChangePtr> group;
    for (int n = below(6); n > 0; --n) {
      const auto p = static_cast<int16_t>(below(kPartitions));
      database[p].push_back(MakeChange(p, static_cast<int64_t>(database[p].size()) + 1,
                                       absl::StrCat("owner", below(6))));
      group.push_back(database[p].back());
    }
    // Of another daemon, or lost on the way.
    if (below(3) > 0) hub_->Publish(std::move(group));
    if (below(4) == 0) poll(1 + below(50));
    Reader& reader = *readers[below(8)];
    for (int steps = below(8); steps > 0; --steps) reader.Step();
    if (below(10) == 0) {
      reader.Leave();
      reader.Come();
    }
  }
  while (poll(100)) continue;
  for (const auto& reader : readers) {
    while (reader->Step()) continue;
    reader->Check();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomHub, testing::Range(0, 20));

}  // namespace
}  // namespace sessiond::watch
