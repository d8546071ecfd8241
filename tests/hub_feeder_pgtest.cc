// Hub feeders on a real database: two stores, as two daemons would have them, and watches of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "db/query/watch_queries.h"
#include "server/watch/change.h"
#include "server/watch/hub_feeder.h"
#include "server/watch/watching.h"
#include "state_machine/session_id.h"
#include "tests/commands.h"
#include "tests/store_fixture.h"

namespace sessiond::watch {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// What a daemon has of this.
struct Side {
  explicit Side(const TestDatabase& database, HubOptions hub = {})
      : store(db::OpenStore(
            database, [this](db::SessionStoreOptions& options) { options.listener = &listener; })) {
    hub.partition_count = store->partition_count();
    feed = std::make_unique<HubFeeder>(HubFeederOptions{.dsn = database.dsn(), .hub = hub}, *store,
                                       listener);
  }
  ~Side() {
    store->Drain();
    feed.reset();
  }

  db::CommittedListener listener;
  std::unique_ptr<db::SessionStore> store;
  std::unique_ptr<HubFeeder> feed;
};

Positions PositionsOf(Side& side) {
  const auto states = Wait(side.feed->reads().GetPartitions());
  EXPECT_TRUE(states.ok()) << states.status();
  return states->positions;
}

// A stream without gRPC: takes on a thread of its own until it is ended.
class Reader {
 public:
  Reader(Side& side, const std::string& filter, Positions from) : side_(side), got_(from.size()) {
    v1::WatchSessionsRequest request;
    request.set_filter(filter);
    subscription_ = side.feed->hub().Subscribe(
        Interest::Of(request, {}, side.store->partition_count()).value(), std::move(from),
        PositionsOf(side), SteadyTime::Now(), absl::Hours(1), [this] {
          absl::MutexLock lock(&mutex_);
          woken_ = true;
        });
    thread_ = std::thread([this] { Run(); });
  }
  ~Reader() { End(); }

  // By partition, the positions of what it was told, once there are so many.
  const std::vector<std::vector<int64_t>>& Await(std::size_t count) {
    {
      absl::MutexLock lock(&mutex_);
      const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return count_ >= count; };
      mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(30));
    }
    End();
    return got_;
  }

 private:
  void End() {
    if (!thread_.joinable()) return;
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
    }
    thread_.join();
    side_.feed->hub().Unsubscribe(subscription_);
  }

  void Run() {
    for (;;) {
      const Taken taken = side_.feed->hub().Take(*subscription_);
      for (const Delivery& delivery : taken.deliveries) Get(*delivery.change);
      if (!taken.unread.empty()) ReadUnread(taken.unread);
      absl::MutexLock lock(&mutex_);
      if (taken.deliveries.empty() && !taken.more) {
        const auto disturbed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return woken_ || ended_;
        };
        mutex_.Await(absl::Condition(&disturbed));
        woken_ = false;
      }
      if (ended_) return;
    }
  }

  void ReadUnread(const std::vector<Range>& ranges) {
    const Interest& interest = subscription_->interest();
    auto stored = Wait(side_.feed->reads().GetEvents(ranges, interest.rewinding(), 1000));
    ASSERT_TRUE(stored.ok()) << stored.status();
    const std::vector<Range> read = std::move(stored->ranges);
    for (const ChangePtr& change : ChangesOf(*std::move(stored))) {
      if (interest.Judge(*change).has_value()) Get(*change);
    }
    side_.feed->hub().Advance(*subscription_, read);
  }

  void Get(const Change& change) {
    got_[change.partition].push_back(change.position);
    absl::MutexLock lock(&mutex_);
    ++count_;
  }

  Side& side_;
  SubscriptionPtr subscription_;
  // The thread's own until it ends.
  std::vector<std::vector<int64_t>> got_;
  absl::Mutex mutex_;
  std::size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// The positions of all events, by partition; of one workflow's sessions only, where it is named.
std::vector<std::vector<int64_t>> AllPositions(const TestDatabase& database,
                                               const std::string& workflow, std::size_t* count) {
  auto connection = database.Connect();
  connection->QueueSql(absl::StrCat(
      "SELECT e.partition, e.position FROM session_events e JOIN sessions s USING (partition) ",
      "WHERE s.id = e.session_id AND s.workflow LIKE '", workflow,
      "%' ORDER BY e.partition, e.position"));
  const auto results = connection->RoundTrip(TestDeadline());
  std::vector<std::vector<int64_t>> positions(64);
  *count = results->front().rows();
  for (int row = 0; row < results->front().rows(); ++row)
    positions[results->front().Int2(row, 0)].push_back(results->front().Int8(row, 1));
  return positions;
}

TEST(HubFeeder, WhatTwoDaemonsCommitReachesTheWatchesOfBoth) {
  TestDatabase database;
  // So small a log and queue that slow watches have to read.
  Side sides[2] = {Side(database, {.log_bytes_max = 100'000, .queue_max = 8}), Side(database)};
  const uint64_t seed = TestSeed();
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    const char* workflow = i % 2 == 0 ? "interview" : "execution";
    ids.push_back(db::NewSessionIn(*sides[i % 2].store, workflow).session_id());
  }
  // From the very beginning, which only the database knows any more.
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(std::make_unique<Reader>(
        sides[i % 2], i < 4 ? "" : "workflow = \"interview\" AND NOT labels.n = \"none\"",
        Positions(64)));
  }
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(writer));
      for (int n = 0; n < 200; ++n) {
        db::Pending change(*sides[random() % 2].store,
                           SetLabel(ids[random() % ids.size()], "n", absl::StrCat(n)));
        EXPECT_TRUE(change.Wait().ok()) << change.Wait().status();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (int i = 0; i < 8; ++i) {
    std::size_t count = 0;
    const auto wanted = AllPositions(database, i < 4 ? "" : "interview", &count);
    EXPECT_EQ(readers[i]->Await(count), wanted) << "reader " << i;
  }
}

// A server that lacks what was seen must not be taken for one from which it was removed.
TEST(WatchReader, KnowsWhatItsServerMustHave) {
  const TestDatabase database;
  Side side(database);
  const std::string id = db::NewSessionIn(*side.store, "interview").session_id();
  const auto partition = PartitionOf(id, side.store->partition_count());
  const Positions positions = PositionsOf(side);
  EXPECT_EQ(side.store->primary()->seen().positions, positions);
  const Range there{partition, 0, positions[partition]};
  const Range beyond{partition, 0, positions[partition] + 1};
  EXPECT_TRUE(Wait(side.feed->reads().GetEvents({there}, db::Rewinding::kAll, 1000)).ok());
  const auto missing = Wait(side.feed->reads().GetEvents({beyond}, db::Rewinding::kAll, 1000));
  EXPECT_TRUE(absl::IsUnavailable(missing.status())) << missing.status();
}

// Say, because its page is damaged: here a view stands for the table.
TEST(HubFeeder, AChangeThatCannotBeReadKeepsNoOtherPartitionWaiting) {
  TestDatabase database;
  Side one(database), two(database);
  std::map<int16_t, std::string> ids;
  while (ids.size() < 2) {
    const std::string id = db::NewSessionIn(*one.store, "interview").session_id();
    ids[PartitionOf(id, one.store->partition_count())] = id;
  }
  const auto& [damaged, bad] = *ids.begin();
  const auto& [sound, good] = *ids.rbegin();
  const Positions before = PositionsOf(two);
  Reader reader(two, "", before);
  const absl::Status replaced = database.Connect()->Execute(
      absl::StrCat("ALTER TABLE session_events RENAME TO events_on_disk;",
                   "CREATE FUNCTION is_read(p smallint, n bigint) RETURNS boolean AS $$ BEGIN ",
                   "IF p = ", damaged, " AND n > ", before[damaged],
                   " THEN RAISE 'invalid page'; END IF; RETURN true; END $$ LANGUAGE plpgsql;",
                   "CREATE VIEW session_events AS ",
                   "SELECT * FROM events_on_disk WHERE is_read(partition, position)"),
      TestDeadline());
  ASSERT_TRUE(replaced.ok()) << replaced;
  db::Pending(*one.store, SetLabel(bad, "n", "1")).Wait();
  db::Pending(*one.store, SetLabel(good, "n", "1")).Wait();
  const std::vector<std::vector<int64_t>>& told = reader.Await(1);
  EXPECT_THAT(told[damaged], IsEmpty());
  EXPECT_THAT(told[sound], SizeIs(1));
}

// Nobody waits for what is read for a caller who has gone.
TEST(WatchReader, DoesNotReadForACallerWhoHasLeft) {
  const TestDatabase database;
  Side side(database);
  const std::atomic<bool> left = true;
  EXPECT_TRUE(absl::IsCancelled(Wait(side.feed->reads().GetPartitions(&left)).status()));
  EXPECT_TRUE(absl::IsCancelled(
      Wait(side.feed->reads().GetEvents({}, db::Rewinding::kAll, 1000, &left)).status()));
  EXPECT_TRUE(
      absl::IsCancelled(Wait(side.feed->reads().GetSessions({}, {}, 10, 1000, &left)).status()));
  EXPECT_TRUE(absl::IsCancelled(Wait(side.feed->reads().GetNamedSessions({}, {}, &left)).status()));
}

TEST(HubFeeder, RestsWhileNobodyWatches) {
  TestDatabase database;
  Side side(database);
  EXPECT_FALSE(side.listener.listening);
  const std::string id = db::NewSessionIn(*side.store, "interview").session_id();
  {
    Reader reader(side, "", PositionsOf(side));
    EXPECT_TRUE(side.listener.listening);
    const db::Pending change(*side.store, SetLabel(id, "n", "1"));
    std::size_t told = 0;
    for (const auto& positions : reader.Await(1)) told += positions.size();
    EXPECT_EQ(told, 1u);
  }
  EXPECT_FALSE(side.listener.listening);
}

TEST(HubFeeder, PassesOverWhatWasRemovedAndSaysSo) {
  TestDatabase database;
  Side side(database);
  const std::string id = db::NewSessionIn(*side.store, "interview").session_id();
  db::Pending(*side.store, SetLabel(id, "n", "1")).Wait();
  const auto oldest = [&] { return Wait(side.feed->reads().GetOldestResumable()).value(); };
  EXPECT_EQ(oldest(), std::nullopt);
  auto connection = database.Connect();
  const absl::Status removed = connection->Execute(
      "BEGIN; SET LOCAL sessiond.purging = 'on'; DELETE FROM session_events WHERE sequence = 1;"
      "UPDATE partitions SET purged_position = 1 WHERE position > 0; COMMIT",
      TestDeadline());
  ASSERT_TRUE(removed.ok()) << removed;
  EXPECT_TRUE(oldest().has_value());
  // A hub that had seen nothing yet reads what is left.
  Reader reader(side, "", Positions(64));
  std::vector<std::vector<int64_t>> wanted(64);
  const Positions now = PositionsOf(side);
  for (std::size_t p = 0; p < now.size(); ++p) {
    if (now[p] > 0) wanted[p] = {2};
  }
  EXPECT_EQ(reader.Await(1), wanted);
}

template <class Answered>
Answer<Answered> Asked(db::QueryPool& pool, db::Question<Answered> question) {
  co_return co_await pool.Ask(std::move(question), TestDeadline());
}

// Sessions, events and messages count; one event is always read, however large.
TEST(WatchReader, ReadsAsMuchAsFits) {
  TestDatabase database;
  Side side(database);
  const Positions from = PositionsOf(side);
  const std::string one = db::NewSessionIn(*side.store, "interview").session_id();
  const std::string two = db::NewSessionIn(*side.store, "interview").session_id();
  const auto append = [&](const std::string& id, std::size_t bytes) {
    Command command = Append(id, "answer");
    std::get<v1::AppendMessagesRequest>(command.request)
        .mutable_messages(0)
        ->set_content(std::string(bytes, 'x'));
    db::Pending(*side.store, std::move(command)).Wait();
  };
  for (int i = 0; i < 3; ++i) {
    append(one, 100'000);
    db::Pending(*side.store, SetLabel(two, "n", absl::StrCat(i))).Wait();
  }
  append(two, 300'000);
  const std::set<int16_t> partitions = {PartitionOf(one, 64), PartitionOf(two, 64)};
  const std::vector<Range> all =
      RangesBetween(from, PositionsOf(side), {partitions.begin(), partitions.end()});
  std::size_t reads = 0;
  std::vector<std::pair<int16_t, int64_t>> read, wanted;
  for (const Range& range : all) {
    for (int64_t position = range.after + 1; position <= range.upto; ++position)
      wanted.emplace_back(range.partition, position);
  }
  for (std::vector<Range> ranges = all; !ranges.empty();) {
    const db::StoredEvents stored =
        Wait(Asked(side.store->queries(), db::FindStoredEvents(ranges, 64, /*bytes_max=*/150'000)))
            .value();
    ASSERT_FALSE(stored.events.empty());
    std::size_t positions = 0;
    for (const Range& each : stored.ranges) positions += each.upto - each.after;
    EXPECT_EQ(positions, stored.events.size());
    for (const db::StoredEvent& event : stored.events)
      read.emplace_back(event.partition, event.position);
    TakeOff(stored.ranges, &ranges);
    ++reads;
  }
  EXPECT_EQ(read, wanted);
  EXPECT_GE(reads, 2u);
  EXPECT_LT(reads, read.size());
}

TEST(HubFeeder, ReadsAnewWhatWasRemovedBetweenItsTrips) {
  TestDatabase database;
  Side side(database);
  const Positions from = PositionsOf(side);
  const std::string id = db::NewSessionIn(*side.store, "interview").session_id();
  const std::vector<Range> ranges =
      RangesBetween(from, PositionsOf(side), {PartitionOf(id, side.store->partition_count())});
  ASSERT_EQ(ranges.size(), 1u);
  const auto ask = [&](auto question) {
    return Wait(Asked(side.store->queries(), std::move(question))).value();
  };
  db::StoredEvents stored = ask(db::FindStoredEvents(ranges, side.store->partition_count()));
  ASSERT_EQ(stored.sessions.size(), 1u);
  EXPECT_TRUE(db::FindRestOf(&stored, db::Rewinding::kAll, 1000).statements.empty());

  // As if it had ended since.
  stored.sessions.clear();
  const auto add_rest = [&] { return ask(db::FindRestOf(&stored, db::Rewinding::kAll, 1000)); };
  EXPECT_TRUE(add_rest());
  const auto purge_to = [&](int64_t position) {
    database.Ask(absl::StrCat("UPDATE partitions SET purged_position = ", position,
                              " WHERE partition = ", ranges[0].partition, " RETURNING ''"));
  };
  purge_to(ranges[0].upto);
  EXPECT_TRUE(add_rest()) << "what lies before does not matter";
  purge_to(ranges[0].upto + 1);
  EXPECT_FALSE(add_rest());
}

}  // namespace
}  // namespace sessiond::watch
