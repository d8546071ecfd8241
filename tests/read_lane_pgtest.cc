// Reads by id, by several connections: what is kept does not wait for what is not, nothing is older
// than it may be, and whatever happens to a connection, every look-up is answered.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "db/read/read_lane.h"
#include "state_machine/refusal.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

// As many groups are read beside at a time.
constexpr int kBeside = 4;

// Of no session.
constexpr char kNone[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
constexpr char kNoneEither[] = "0192f3c4-9f2e-7abc-8def-ffffffffffff";

// A look-up that somebody waits for later.
class PendingLookup {
 public:
  PendingLookup(SessionStore& store, std::vector<std::string> session_ids,
                SteadyTime until = SteadyTime::InfiniteFuture()) {
    Run(store.LookupSessions(std::move(session_ids), until));
  }
  ~PendingLookup() { done_.WaitForNotification(); }
  absl::Status Wait() {
    done_.WaitForNotification();
    return found_.status();
  }
  bool done() const { return done_.HasBeenNotified(); }

 private:
  Detached Run(Answer<std::vector<FoundSession>> lookup) {
    found_ = co_await lookup;
    done_.Notify();
  }

  absl::StatusOr<std::vector<FoundSession>> found_;
  absl::Notification done_;
};

// Keeps reads waiting of what became of sessions that are not there, as a slow disk would.
class SlowTombstones {
 public:
  explicit SlowTombstones(const TestDatabase& database)
      : database_(database), connection_(database.Connect()) {
    EXPECT_TRUE(connection_->Execute("BEGIN; LOCK TABLE tombstones", TestDeadline()).ok());
  }
  ~SlowTombstones() { Release(); }
  void Release() {
    if (std::exchange(released_, true)) return;
    EXPECT_TRUE(connection_->Execute("COMMIT", TestDeadline()).ok());
  }
  // Until so many connections wait.
  void Await(int connections) {
    const SteadyTime deadline = TestDeadline();
    while (database_.Ask("SELECT count(*)::text FROM pg_locks WHERE relation = "
                         "'tombstones'::regclass AND NOT granted") != absl::StrCat(connections)) {
      ASSERT_LT(SteadyTime::Now(), deadline);
    }
  }

 private:
  const TestDatabase& database_;
  const std::unique_ptr<Connection> connection_;
  bool released_ = false;
};

// So that nothing but a test ends its waiting.
void WaitLong(SessionStoreOptions& options) {
  options.settings.lock_timeout = options.settings.statement_timeout = absl::Seconds(30);
}

void ChangeByHand(const TestDatabase& database, const std::string& name) {
  database.Ask(absl::StrCat("UPDATE sessions SET owner_display_name = '", name, "' RETURNING id"));
}

void EndConnections(const TestDatabase& database) {
  database.Ask(
      "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE "
      "datname = current_database() AND pid <> pg_backend_pid()");
}

// Has all connections opened that there may be: whoever reads, reads at once from then on.
void OpenAll(const TestDatabase& database, SessionStore& store) {
  ASSERT_TRUE(ReadAndWait(store, kNone).ok());
  const SteadyTime deadline = TestDeadline();
  while (database.Ask("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = "
                      "'sessiond reads' AND datname = current_database()") !=
         absl::StrCat(1 + kBeside)) {
    ASSERT_LT(SteadyTime::Now(), deadline);
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2 * kBeside; ++reader)
      readers.emplace_back([&] { ASSERT_TRUE(ReadAllAndWait(store, {kNone, kNoneEither}).ok()); });
    for (std::thread& reader : readers) reader.join();
  }
}

// One group each, as many of them as can be read beside.
std::vector<std::unique_ptr<PendingLookup>> LookUpNone(SessionStore& store, int lookups,
                                                       SlowTombstones& tombstones) {
  std::vector<std::unique_ptr<PendingLookup>> pending;
  for (int i = 1; i <= lookups; ++i) {
    pending.push_back(
        std::make_unique<PendingLookup>(store, std::vector<std::string>{kNone, kNoneEither}));
    tombstones.Await(std::min(i, kBeside));
  }
  return pending;
}

TEST(ReadLane, WhatIsKeptDoesNotWaitForWhatIsNot) {
  TestDatabase database;
  const auto store = OpenStore(database, WaitLong);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(ReadAndWait(*store, id).ok());
  OpenAll(database, *store);
  SlowTombstones tombstones(database);
  const auto others = LookUpNone(*store, kBeside + 1, tombstones);
  for (const std::vector<std::string>& ids : {std::vector{id}, std::vector{id, id}}) {
    const auto kept = ReadAllAndWait(*store, ids);
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(kept->back().session.value().session_id(), id);
  }
  for (const auto& other : others) EXPECT_FALSE(other->done());
  tombstones.Release();
  for (const auto& other : others) EXPECT_TRUE(other->Wait().ok()) << other->Wait();
}

// A session that is asked for alone is read at once; those that come meanwhile are told apart when
// it is done.
TEST(ReadLane, OfAGroupOnlyWhatIsNotKeptIsReadBeside) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    WaitLong(options);
    // Time enough for `kept` to be answered while `none` waits.
    options.settings.lock_timeout = absl::Seconds(5);
  });
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(ReadAndWait(*store, id).ok());
  OpenAll(database, *store);
  SlowTombstones tombstones(database);
  PendingLookup alone(*store, {kNone});
  tombstones.Await(1);
  PendingLookup none(*store, {kNoneEither}), kept(*store, {id});
  EXPECT_FALSE(alone.Wait().ok()) << "nobody waits for a lock for ever";
  EXPECT_TRUE(kept.Wait().ok()) << kept.Wait();
  EXPECT_FALSE(none.done());
  tombstones.Release();
}

TEST(ReadLane, RefusesWhatIsTooMuchAndAnswersWhatItTookOn) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    WaitLong(options);
    options.inbox.items_max = 2 * kBeside;
  });
  OpenAll(database, *store);
  SlowTombstones tombstones(database);
  const auto taken = LookUpNone(*store, 3 * kBeside, tombstones);
  for (int i = 0; i < 20; ++i) {
    PendingLookup more(*store, {kNone, kNoneEither});
    EXPECT_EQ(ReasonOf(more.Wait()), v1::OVERLOADED) << more.Wait();
  }
  std::thread drain([&] { store->Drain(); });
  tombstones.Release();
  drain.join();
  for (const auto& one : taken) EXPECT_TRUE(one->Wait().ok()) << one->Wait();
}

TEST(ReadLane, ReadsNothingForWhomNobodyWaitsAnyMore) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  for (const std::vector<std::string>& ids : {std::vector{id}, std::vector{id, id}}) {
    PendingLookup late(*store, ids, SteadyTime::Now() - absl::Milliseconds(1));
    EXPECT_EQ(late.Wait().code(), absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_TRUE(ReadAndWait(*store, id).ok());
}

TEST(ReadLane, StatementsEndWithTheLastDeadlineOfTheirGroup) {
  TestDatabase database;
  const auto store = OpenStore(database, WaitLong);
  OpenAll(database, *store);
  SlowTombstones tombstones(database);
  for (const std::vector<std::string>& ids :
       {std::vector<std::string>{kNone}, {kNone, kNoneEither}}) {
    const SteadyTime begin = SteadyTime::Now();
    PendingLookup late(*store, ids, begin + absl::Milliseconds(300));
    EXPECT_EQ(late.Wait().code(), absl::StatusCode::kDeadlineExceeded) << late.Wait();
    EXPECT_LT(SteadyTime::Now() - begin, absl::Seconds(10));
    tombstones.Await(0);
  }
  tombstones.Release();
  EXPECT_TRUE(ReadAndWait(*store, kNone).ok());
}

// It may be another database by then, of whatever age.
TEST(ReadLane, ConnectionsCountOnNothingFromBeforeTheyWereOpened) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(ReadAndWait(*store, id).ok());
    const std::string name = absl::StrCat("Name ", i);
    ChangeByHand(database, name);
    EndConnections(database);
    // Beside, for the other one is not kept: by a connection opened for it, or one found dead.
    const auto read = ReadAllAndWait(*store, {id, kNone});
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->front().session.value().owner_display_name(), name);
    EXPECT_EQ(ReadAndWait(*store, id)->session.value().owner_display_name(), name);
  }
}

// The older one may still lead to an old primary. What was changed there and lost may have the same
// sequence as what is there now.
TEST(ReadLane, ConnectionsCountOnNothingThatAnOlderOneRead) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  OpenAll(database, *store);
  ASSERT_TRUE(ReadAndWait(*store, id).ok());  // Alone: by the oldest one.
  ChangeByHand(database, "Name");
  const auto read = ReadAllAndWait(*store, {id, kNone});  // Beside.
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->front().session.value().owner_display_name(), "Name");
}

TEST(ReadLane, ReadsAgainWhenConnectionsAreLostWhereverItReads) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  for (int i = 0; i < 3; ++i) {
    const std::string name = absl::StrCat("Name ", i);
    ChangeByHand(database, name);
    EndConnections(database);
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2 * kBeside; ++reader) {
      readers.emplace_back([&] {
        for (const std::vector<std::string>& ids :
             {std::vector<std::string>{id, kNone}, {id}, {id, id}, {id, kNoneEither}}) {
          const auto read = ReadAllAndWait(*store, ids);
          ASSERT_TRUE(read.ok()) << read.status();
          EXPECT_EQ(read->front().session.value().owner_display_name(), name);
        }
      });
    }
    for (std::thread& reader : readers) reader.join();
  }
}

// A role may have so few connections that there are none to read beside with.
TEST(ReadLane, DoesWithOneConnectionWhereThereAreNoMore) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(ReadAndWait(*store, id).ok());
  database.LetIn(false);
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2 * kBeside; ++reader) {
    readers.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const auto read = ReadAllAndWait(*store, {id, kNone});
        EXPECT_TRUE(read.ok()) << read.status();
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  database.LetIn(true);
}

}  // namespace
}  // namespace sessiond::db
