// What somebody keeps locked by hand: only those who need it wait, in order, for as long as they
// may; all others of the lane go on, and nothing is lost, doubled, or done behind a caller's back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "state_machine/session_id.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

constexpr char kCounter[] = "current_question_number";

// Far longer than a moment, and than any test takes.
constexpr absl::Duration kLong = absl::Seconds(50);

// By then who waits for nobody has long been answered, however busy the machine is.
constexpr absl::Duration kSoon = absl::Seconds(15);

void OneLane(SessionStoreOptions& options) {
  options.lanes = 1;
  options.settings.lock_timeout = kLong;
}

std::string LockSessions(const std::vector<std::string>& ids) {
  return absl::StrCat("SELECT FROM sessions WHERE id IN ('", absl::StrJoin(ids, "', '"),
                      "') ORDER BY id FOR UPDATE");
}

std::vector<std::string> NewSessions(SessionStore& store, int count) {
  std::vector<std::string> ids;
  for (int i = 0; i < count; ++i) ids.push_back(NewSessionIn(store, "interview").session_id());
  return ids;
}

int PartitionOfId(const std::string& id) { return PartitionOf(id, 64); }

// Changes each of them, and expects to be answered soon.
void ExpectGoOn(SessionStore& store, const std::vector<std::string>& ids) {
  const SteadyTime begin = SteadyTime::Now();
  for (const std::string& id : ids) {
    const auto outcome = SubmitAndWait(store, Increment(id, kCounter, 1));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
  }
  EXPECT_LT(SteadyTime::Now() - begin, kSoon) << "they were kept waiting";
}

// Each of these is done, the changes of a session in their order.
void ExpectDoneInOrder(const PendingList& pending) {
  std::map<std::string, int> last;
  for (const auto& one : pending) {
    const auto& outcome = one->Wait();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    const auto& counters = outcome->session.counters();
    EXPECT_EQ(counters.at(kCounter), last[one->command.session_id] + 1);
    last[one->command.session_id] = counters.at(kCounter);
  }
}

void ExpectAllWait(const PendingList& pending) {
  for (const auto& one : pending) EXPECT_FALSE(one->done());
}

TEST(LockQueue, ASessionThatIsLockedKeepsNobodyElseWaiting) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  std::vector<std::string> others = NewSessions(*store, 20);
  const std::string id = others.back();
  others.pop_back();
  // Also those of its own partition.
  while (PartitionOfId(others.back()) != PartitionOfId(id))
    others.push_back(NewSessionIn(*store, "interview").session_id());
  ByHand lock(database, LockSessions({id}));
  PendingList pending;
  for (int i = 0; i < 5; ++i) {
    pending.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    ExpectGoOn(*store, others);
  }
  ExpectAllWait(pending);
  EXPECT_EQ(store->waiting(), 5u);
  lock.Release();
  ExpectDoneInOrder(pending);
  ExpectGoOn(*store, {id});
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), 6);
  ExpectSound(database);
}

TEST(LockQueue, APartitionThatIsLockedKeepsOnlyItsSessionsWaiting) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::string id = NewSessions(*store, 1)[0];
  std::vector<std::string> inside = {id}, others;
  while (inside.size() < 3 || others.size() < 20) {
    const std::string one = NewSessionIn(*store, "interview").session_id();
    (PartitionOfId(one) == PartitionOfId(id) ? inside : others).push_back(one);
  }
  ByHand lock(database, LockPartition(PartitionOfId(id)));
  PendingList pending;
  for (int i = 0; i < 5; ++i) {
    for (const std::string& one : inside)
      pending.push_back(std::make_unique<Pending>(*store, Increment(one, kCounter, 1)));
    ExpectGoOn(*store, others);
  }
  ExpectAllWait(pending);
  lock.Release();
  ExpectDoneInOrder(pending);
  ExpectSound(database);
}

TEST(LockQueue, ManyThatAreLockedAreDoneAsTheyBecomeFree) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::vector<std::string> ids = NewSessions(*store, 60);
  const std::vector<std::string> first(ids.begin(), ids.begin() + 20);
  const std::vector<std::string> second(ids.begin() + 20, ids.begin() + 40);
  const std::vector<std::string> others(ids.begin() + 40, ids.end());
  ByHand lock_first(database, LockSessions(first)), lock_second(database, LockSessions(second));
  PendingList of_first, of_second;
  for (int i = 0; i < 5; ++i) {
    for (const std::string& id : first)
      of_first.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    for (const std::string& id : second)
      of_second.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    ExpectGoOn(*store, others);
  }
  ExpectAllWait(of_first);
  lock_first.Release();
  ExpectDoneInOrder(of_first);
  ExpectAllWait(of_second);
  ExpectGoOn(*store, first);
  lock_second.Release();
  ExpectDoneInOrder(of_second);
  ExpectSound(database);
}

// Locks of other kinds than a session's and a partition's row.
TEST(LockQueue, WhateverIsLockedIsWaitedForBeside) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::vector<std::string> others = NewSessions(*store, 10);
  const std::string run = NewSessionIn(*store, "ticket_export").session_id();
  ASSERT_TRUE(SubmitAndWait(*store, Advance(run, "upload")).ok());
  ASSERT_TRUE(SubmitAndWait(*store, StartTask(run, "processing", "run-1", "processing")).ok());
  const auto recorded = SubmitAndWait(*store, RecordError(run, AnError(v1::SessionError::WARNING)));
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  const std::string error = recorded->errors.at(0).error_id();
  const std::vector<std::pair<std::string, Command>> cases = {
      {"SELECT FROM session_tasks FOR UPDATE", Heartbeat(run, "run-1")},
      {"SELECT FROM session_errors FOR UPDATE", ResolveError(run, error)},
      {"UPDATE session_tasks SET retry_count = retry_count", CompleteTask(run, "run-1")}};
  for (const auto& [sql, command] : cases) {
    SCOPED_TRACE(sql);
    ByHand lock(database, sql);
    Pending pending(*store, command);
    for (int i = 0; i < 3; ++i) ExpectGoOn(*store, others);
    EXPECT_FALSE(pending.done());
    lock.Release();
    EXPECT_TRUE(pending.Wait().ok()) << pending.Wait().status();
  }
  // Of a whole table nobody goes on, and all do when it is free.
  for (const char* table : {"sessions", "session_events"}) {
    SCOPED_TRACE(table);
    ByHand lock(database, absl::StrCat("LOCK TABLE ", table, " IN EXCLUSIVE MODE"));
    PendingList pending;
    for (const std::string& id : others)
      pending.push_back(std::make_unique<Pending>(*store, SetLabel(id, "table", table)));
    absl::SleepFor(absl::Milliseconds(200));
    ExpectAllWait(pending);
    lock.Release();
    for (const auto& one : pending) EXPECT_TRUE(one->Wait().ok()) << one->Wait().status();
  }
  ExpectSound(database);
}

// Once their session is free, the first is kept by something else, and the second by nothing.
TEST(LockQueue, WhatIsInAnotherGroupThanTheOneBeforeItDoesNotOvertakeIt) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    OneLane(options);
    options.inbox.group_items_max = 1;
  });
  const std::string id = NewSessionIn(*store, "ticket_export").session_id();
  const auto recorded = SubmitAndWait(*store, RecordError(id, AnError(v1::SessionError::WARNING)));
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  ByHand error(database, "SELECT FROM session_errors FOR UPDATE");
  ByHand session(database, LockSessions({id}));
  Pending first(*store, ResolveError(id, recorded->errors.at(0).error_id()));
  Pending second(*store, SetLabel(id, "label", "x"));
  absl::SleepFor(absl::Milliseconds(200));
  session.Release();
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_FALSE(first.done() || second.done());
  error.Release();
  ASSERT_TRUE(first.Wait().ok()) << first.Wait().status();
  ASSERT_TRUE(second.Wait().ok()) << second.Wait().status();
  EXPECT_LT(first.outcome->session.sequence(), second.outcome->session.sequence());
  ExpectSound(database);
}

TEST(LockQueue, WhoCannotWaitAnyLongerIsRefusedAndNothingIsDoneAfterwards) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::vector<std::string> ids = NewSessions(*store, 2);
  for (const std::string& sql : {LockSessions({ids[0]}), LockPartition(PartitionOfId(ids[0]))}) {
    SCOPED_TRACE(sql);
    ByHand lock(database, sql);
    const SteadyTime begin = SteadyTime::Now();
    Pending in_a_hurry(*store, Increment(ids[0], kCounter, 100), begin + absl::Milliseconds(120));
    std::atomic<bool> left = false;
    Pending leaves(*store, Increment(ids[0], kCounter, 100), {SteadyTime::InfiniteFuture(), &left});
    Pending patient(*store, Increment(ids[0], kCounter, 1));
    EXPECT_EQ(in_a_hurry.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_GE(SteadyTime::Now() - begin, absl::Milliseconds(120));
    left = true;
    EXPECT_EQ(leaves.Wait().status().code(), absl::StatusCode::kCancelled);
    EXPECT_LT(SteadyTime::Now() - begin, kSoon);
    EXPECT_FALSE(patient.done());
    lock.Release();
    EXPECT_TRUE(patient.Wait().ok()) << patient.Wait().status();
    ExpectGoOn(*store, ids);
  }
  EXPECT_EQ(AllSessions(database).at(ids[0]).counters().at(kCounter), 4);
  ExpectSound(database);
}

TEST(LockQueue, WhoHasWaitedLongEnoughIsRefusedAndNothingIsDoneAfterwards) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    options.lanes = 1;
    options.settings.lock_timeout = absl::Milliseconds(300);
  });
  const std::vector<std::string> ids = NewSessions(*store, 2);
  for (const std::string& sql : {LockSessions({ids[0]}), LockPartition(PartitionOfId(ids[0]))}) {
    SCOPED_TRACE(sql);
    ByHand lock(database, sql);
    const SteadyTime begin = SteadyTime::Now();
    Pending patient(*store, Increment(ids[0], kCounter, 100));
    EXPECT_EQ(ReasonOf(patient.Wait().status()), v1::LOCK_TIMEOUT) << patient.Wait().status();
    EXPECT_GE(SteadyTime::Now() - begin, absl::Milliseconds(290));
    EXPECT_LT(SteadyTime::Now() - begin, kSoon);
    lock.Release();
    ExpectGoOn(*store, ids);
  }
  EXPECT_EQ(AllSessions(database).at(ids[0]).counters().at(kCounter), 2);
  ExpectSound(database);
}

// What a lane has sent ends with those who wait for it, whatever keeps it.
TEST(LockQueue, NoStatementRunsOnForCallersWhoHaveGone) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    OneLane(options);
    options.settings.statement_timeout = kLong;
  });
  const std::vector<std::string> ids = NewSessions(*store, 2);
  ASSERT_TRUE(database.Connect()
                  ->Execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                            "PERFORM pg_sleep(CASE WHEN new.id = '" +
                                ids[0] +
                                "' THEN 25 ELSE 0 END); RETURN new; END $$; CREATE TRIGGER slow "
                                "BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION slow()",
                            TestDeadline())
                  .ok());
  const SteadyTime begin = SteadyTime::Now();
  Pending slow(*store, Increment(ids[0], kCounter, 1), begin + absl::Milliseconds(300));
  EXPECT_FALSE(slow.Wait().ok());
  EXPECT_LT(SteadyTime::Now() - begin, kSoon);
  ExpectGoOn(*store, {ids[1]});
  EXPECT_EQ(AllSessions(database).at(ids[0]).sequence(), 1);
  ExpectSound(database);
}

TEST(LockQueue, ConnectionsThatDieMeanwhileLoseNothingAndDoubleNothing) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::vector<std::string> ids = NewSessions(*store, 12);
  const std::vector<std::string> locked(ids.begin(), ids.begin() + 6),
      others(ids.begin() + 6, ids.end());
  ByHand lock(database, LockSessions(locked));
  PendingList pending;
  for (int i = 0; i < 10; ++i) {
    for (const std::string& id : locked)
      pending.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    ExpectGoOn(*store, others);
    database.Ask(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE "
        "datname = current_database() AND application_name IN ('sessiond lane', "
        "'sessiond lock queue')");
  }
  lock.Release();
  ExpectDoneInOrder(pending);
  for (const std::string& id : ids)
    EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), 10);
  ExpectSound(database);
}

TEST(LockQueue, MoreThanMayWaitAreRefusedAndADrainFinishesTheOthers) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    OneLane(options);
    options.inbox.items_max = 5;
  });
  const std::string id = NewSessions(*store, 1)[0];
  ByHand lock(database, LockSessions({id}));
  PendingList pending;
  for (int i = 0; i < 5; ++i) {
    pending.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    NewSessions(*store, 1);  // Behind it in the inbox.
  }
  const auto refused = SubmitAndWait(*store, Increment(id, kCounter, 1));
  EXPECT_EQ(ReasonOf(refused.status()), v1::OVERLOADED) << refused.status();
  std::thread drain([&] { store->Drain(); });
  absl::SleepFor(absl::Milliseconds(50));
  ExpectAllWait(pending);
  lock.Release();
  drain.join();
  ExpectDoneInOrder(pending);
  ExpectSound(database);
}

// Locks come and go at random, by hand, while many callers change many sessions through two
// daemons: each change takes effect once, and the changes of a caller in its order.
TEST(LockQueue, LocksThatComeAndGoLoseNothingAndDoubleNothing) {
  const uint64_t seed = TestSeed();
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    options.settings.lock_timeout = absl::Milliseconds(200);
    options.settings.lock_moment = absl::Milliseconds(10);
  });
  const auto other = OpenStore(database, OneLane);
  const std::vector<std::string> ids = NewSessions(*store, 16);
  constexpr int kCallers = 12, kEach = 40;
  std::atomic<int> at_work = kCallers, refused = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(caller));
      int last = 0;
      for (int i = 0; i < kEach; ++i) {
        SessionStore& to = random() % 3 == 0 ? *other : *store;
        const std::string& id = ids[caller];
        for (;;) {
          const auto outcome = SubmitAndWait(
              to,
              WithRequestId(Increment(id, kCounter, 1), absl::StrCat("request-", caller, "-", i)));
          if (outcome.ok()) {
            EXPECT_EQ(outcome->session.counters().at(kCounter), ++last);
            break;
          }
          EXPECT_EQ(ReasonOf(outcome.status()), v1::LOCK_TIMEOUT) << outcome.status();
          ++refused;
        }
      }
      --at_work;
    });
  }
  std::mt19937_64 random(seed);
  int locks = 0;
  for (; at_work > 0; ++locks) {
    const std::string& id = ids[random() % ids.size()];
    const ByHand lock(database,
                      random() % 2 == 0 ? LockSessions({id}) : LockPartition(PartitionOfId(id)));
    absl::SleepFor(absl::Milliseconds(random() % 300));
  }
  for (std::thread& caller : callers) caller.join();
  for (int caller = 0; caller < kCallers; ++caller)
    EXPECT_EQ(AllSessions(database).at(ids[caller]).counters().at(kCounter), kEach);
  for (const auto& [request_id, events] : EventsByRequest(database))
    EXPECT_EQ(events, 1) << request_id << ", seed " << seed;
  ExpectSound(database);
  RecordProperty("locks", locks);
  RecordProperty("refused", refused);
}

}  // namespace
}  // namespace sessiond::db
