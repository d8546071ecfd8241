// Lanes under trouble: a row that the database refuses, connections that die, locks that somebody
// keeps, deadlines, overload and the end; and after each, a database without a gap.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/lane_settings.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"
#include "db/write/lane.h"
#include "state_machine/present.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Field;

constexpr char kCounter[] = "current_question_number";

// What a store's lanes reported.
class Reports {
 public:
  void Take(const GroupReport& report) {
    std::lock_guard lock(mutex_);
    groups_.push_back(report);
  }
  std::vector<GroupReport> groups() {
    std::lock_guard lock(mutex_);
    return groups_;
  }
  void Clear() {
    std::lock_guard lock(mutex_);
    groups_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<GroupReport> groups_;
};

// Has a store's lanes report.
std::function<void(SessionStoreOptions&)> To(
    Reports& reports, std::function<void(SessionStoreOptions&)> change = [](auto&) {}) {
  return [&reports, change = std::move(change)](SessionStoreOptions& options) {
    change(options);
    options.on_group = [&reports](const GroupReport& report) { reports.Take(report); };
  };
}

void OneLane(SessionStoreOptions& options) {
  options.lanes = 1;
  options.settings.lock_timeout = options.settings.lock_moment = absl::Seconds(20);
}

// A session whose partition is not this one.
v1::Session SessionElsewhere(SessionStore& store, int partition) {
  for (;;) {
    v1::Session session = NewSessionIn(store, "interview");
    if (PartitionOf(session.session_id(), store.partition_count()) != partition) return session;
  }
}

TEST(Lane, CommitsTogetherWhatWaitedTogether) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports, OneLane));
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList pending;
  {
    Stall stall(database, *store);
    reports.Clear();
    for (int i = 0; i < 100; ++i)
      pending.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1)));
  }
  // In the order of arrival, each building on the one before.
  for (int i = 0; i < 100; ++i) {
    const auto& outcome = pending[i]->Wait();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->session.counters().at(kCounter), i + 1);
    EXPECT_EQ(outcome->session.sequence(), i + 2);
    EXPECT_EQ(outcome->events.size(), 1u);
  }
  EXPECT_THAT(reports.groups(), Contains(AllOf(Field(&GroupReport::commands, 100u),
                                               Field(&GroupReport::committed, true))));
  ExpectSound(database);
}

TEST(Lane, ARefusedCommandHarmsNobodyInItsGroup) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList pending;
  {
    Stall stall(database, *store);
    for (int i = 0; i < 10; ++i) {
      pending.push_back(
          std::make_unique<Pending>(*store, About<v1::PauseSessionRequest>(session.session_id())));
      pending.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1)));
    }
  }
  for (int i = 0; i < 20; ++i) {
    const auto& outcome = pending[i]->Wait();
    if (i == 0 || i % 2 == 1) {
      EXPECT_TRUE(outcome.ok()) << outcome.status();
    } else {
      EXPECT_EQ(ReasonOf(outcome.status()), v1::INVALID_TRANSITION);
    }
  }
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter), 10);
  ExpectSound(database);
}

TEST(Lane, AGroupOfRefusalsWritesNothing) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const v1::Session session = NewSessionIn(*store, "execution");
  const auto refused = SubmitAndWait(*store, About<v1::ResumeSessionRequest>(session.session_id()));
  EXPECT_EQ(ReasonOf(refused.status()), v1::INVALID_TRANSITION);
  EXPECT_EQ(AllEvents(database).at(session.session_id()).size(), 1u);
  EXPECT_TRUE(SubmitAndWait(*store, About<v1::PauseSessionRequest>(session.session_id())).ok());
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// what the database refuses

TEST(Lane, WhatTheDatabaseRefusesFailsAloneAndItsGroupCommits) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  for (const int poisoned : {1, 2, 7, 64}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", poisoned ", poisoned));
    TestDatabase database;
    Reports reports;
    const auto store = OpenStore(database, To(reports, OneLane));
    database.Ask(
        "ALTER TABLE sessions ADD CONSTRAINT poison CHECK (owner_display_name <> 'poison')");
    std::set<int> poison;
    while (static_cast<int>(poison.size()) < poisoned)
      poison.insert(static_cast<int>(random() % 64));
    PendingList pending;
    {
      Stall stall(database, *store);
      reports.Clear();
      for (int i = 0; i < 64; ++i) {
        v1::CreateSessionRequest request = NewSession("interview");
        request.mutable_session()->set_owner_display_name(poison.contains(i) ? "poison" : "sound");
        pending.push_back(std::make_unique<Pending>(
            *store, Create(store->catalog().Newest("interview"), request)));
      }
    }
    for (int i = 0; i < 64; ++i) {
      const auto& outcome = pending[i]->Wait();
      EXPECT_EQ(outcome.ok(), !poison.contains(i)) << i << " " << outcome.status();
      if (outcome.ok()) continue;
      EXPECT_EQ(ReasonOf(outcome.status()), v1::CONSTRAINT_VIOLATION);
      EXPECT_EQ(outcome.status().code(), absl::StatusCode::kInternal);
      EXPECT_FALSE(absl::StrContains(outcome.status().message(), "poison")) << "no SQL to callers";
    }
    EXPECT_EQ(AllSessions(database).size(), 65u - poison.size());
    EXPECT_THAT(reports.groups(), Contains(AllOf(Field(&GroupReport::commands, 64u),
                                                 Field(&GroupReport::committed, false))));
    ExpectSound(database);
  }
}

// -----------------------------------------------------------------------------------------------
// what somebody else keeps locked

TEST(Lane, ALockThatIsKeptIsARefusalAndOthersGoOn) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    options.lanes = 1;
    options.settings.lock_timeout = absl::Milliseconds(100);
  });
  const v1::Session here = NewSessionIn(*store, "interview");
  const int partition = PartitionOf(here.session_id(), store->partition_count());
  const v1::Session elsewhere = SessionElsewhere(*store, partition);
  ByHand lock(database, LockPartition(partition));
  const Command command = WithRequestId(Increment(here.session_id(), kCounter, 1), "again");
  for (int i = 0; i < 3; ++i) {
    const SteadyTime begin = SteadyTime::Now();
    const auto outcome = SubmitAndWait(*store, command);
    EXPECT_EQ(ReasonOf(outcome.status()), v1::LOCK_TIMEOUT) << outcome.status();
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_GT(RetryDelayOf(outcome.status()), absl::ZeroDuration());
    EXPECT_GE(SteadyTime::Now() - begin, absl::Milliseconds(90));
    EXPECT_TRUE(SubmitAndWait(*store, Increment(elsewhere.session_id(), kCounter, 1)).ok());
  }
  lock.Release();
  EXPECT_TRUE(SubmitAndWait(*store, command).ok());
  EXPECT_EQ(AllSessions(database).at(here.session_id()).counters().at(kCounter), 1);
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// connections that die

void TerminateLanes(Connection& connection) {
  const absl::Status status = connection.Execute(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
      "WHERE datname = current_database() AND application_name = 'sessiond lane'",
      TestDeadline());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Lane, AConnectionThatDiesBetweenGroupsIsNotNoticedByCallers) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const v1::Session session = NewSessionIn(*store, "interview");
  const auto connection = database.Connect();
  for (int i = 0; i < 10; ++i) {
    TerminateLanes(*connection);
    const auto outcome = SubmitAndWait(*store, Increment(session.session_id(), kCounter, 1));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
  }
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter), 10);
  ExpectSound(database);
}

TEST(Lane, AConnectionThatDiesWithAGroupIsReplacedAndTheGroupRunAgain) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList pending;
  {
    Stall stall(database, *store);
    TerminateLanes(*database.Connect());
    for (int i = 0; i < 20; ++i)
      pending.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1)));
  }
  for (const auto& one : pending) EXPECT_TRUE(one->Wait().ok()) << one->Wait().status();
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter), 20);
  ExpectSound(database);
}

// While it lives, nobody's COMMIT is answered: it is there, and waits for a standby that never
// comes.
class CommitsUnanswered {
 public:
  explicit CommitsUnanswered(const TestDatabase& database) : database_(database) {
    Set("SET synchronous_standby_names = 'nobody'");
  }
  ~CommitsUnanswered() { Set("RESET synchronous_standby_names"); }

  // Waits until a lane's COMMIT is there, and has its connection die on that.
  void CutNext() {
    const auto connection = database_.Connect();
    const SteadyTime give_up = TestDeadline();
    while (database_.Ask("SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity "
                         "WHERE wait_event = 'SyncRep' AND datname = current_database()") == "0") {
      ASSERT_LT(SteadyTime::Now(), give_up);
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

 private:
  void Set(const std::string& setting) {
    const auto connection = database_.Connect();
    EXPECT_TRUE(connection->Execute("ALTER SYSTEM " + setting, TestDeadline()).ok());
    EXPECT_TRUE(connection->Execute("SELECT pg_reload_conf()", TestDeadline()).ok());
    // Whether commits wait is the checkpointer's to say, once it has read that.
    const bool wait = absl::StartsWith(setting, "SET");
    const SteadyTime give_up = TestDeadline();
    std::unique_ptr<Connection> writer;
    for (bool waits = !wait; waits != wait;) {
      ASSERT_LT(SteadyTime::Now(), give_up);
      writer = database_.Connect();
      const std::string pid = Pid(*writer);
      writer->QueueSql("SET synchronous_commit = on");
      writer->QueueSql("CREATE TABLE IF NOT EXISTS unanswered ()");
      writer->QueueSql("DROP TABLE unanswered");
      EXPECT_TRUE(writer->Send().ok());
      std::string state;
      do {
        state = database_.Ask(
            "SELECT CASE WHEN wait_event = 'SyncRep' THEN 'waits' ELSE state END "
            "FROM pg_stat_activity WHERE pid = " +
            pid);
      } while (state == "active");
      waits = state == "waits";
      // Gone before anybody looks for who waits.
      database_.Ask("SELECT pg_terminate_backend(" + pid + ")::text");
      while (database_.Ask("SELECT count(*)::text FROM pg_stat_activity WHERE pid = " + pid) != "0")
        ASSERT_LT(SteadyTime::Now(), give_up);
    }
  }
  static std::string Pid(Connection& connection) {
    connection.QueueSql("SELECT pg_backend_pid()::text");
    auto results = connection.RoundTrip(TestDeadline());
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? std::string(results->front().Text(0, 0)) : "0";
  }

  const TestDatabase& database_;
};

// The session of each answer is as its own command left it, not as the whole group did.
TEST(Lane, AGroupThatCommittedBeforeItsConnectionDiedAnswersAsItsChangesLeftTheSessions) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  const v1::Session erased = NewSessionIn(*store, "interview");
  const v1::Session decoy = NewSessionIn(*store, "execution");
  const std::string run = NewSessionIn(*store, "ticket_export").session_id();
  ASSERT_TRUE(SubmitAndWait(*store, Advance(run, "upload")).ok());

  PendingList pending;
  const auto submit = [&](Command command) {
    pending.push_back(std::make_unique<Pending>(*store, std::move(command)));
  };
  {
    CommitsUnanswered unanswered(database);
    submit(Increment(id, kCounter, 1));
    unanswered.CutNext();
  }
  pending.back()->Wait();
  submit(SetLabel(id, "a", "1"));
  pending.back()->Wait();
  {
    // What comes while the lane waits for a lock makes one group; who waits with it gives up. The
    // lock is of a row: a partition may have sessions of the group, too.
    const ByHand lock(database,
                      "SELECT FROM sessions WHERE id = '" + decoy.session_id() + "' FOR UPDATE");
    CommitsUnanswered unanswered(database);
    Pending gives_up(*store, SetLabel(decoy.session_id(), "decoy", "x"),
                     {SteadyTime::Now() + absl::Seconds(3)});
    while (store->waiting() > 0) absl::SleepFor(absl::Milliseconds(1));
    submit(Increment(id, kCounter, 1));
    submit(Increment(id, kCounter, 1));
    submit(About<v1::ResumeSessionRequest>(id));
    submit(Erase(erased.session_id(), erased.owner_id()));
    submit(Create(store->catalog().Newest("interview"), NewSession("interview")));
    submit(StartTask(run, "processing", "", "processing"));
    EXPECT_FALSE(gives_up.Wait().ok());
    unanswered.CutNext();
  }
  for (const auto& one : pending) one->Wait();
  int sequence = 1;
  for (const int i : {0, 1, 2, 3}) {
    const auto& outcome = pending[i]->Wait();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->session.sequence(), ++sequence) << i;
    EXPECT_EQ(outcome->session.etag(), EtagOf(outcome->session));
    ASSERT_EQ(outcome->events.size(), 1u) << i;
    EXPECT_EQ(outcome->events[0].sequence(), sequence);
  }
  EXPECT_EQ(pending[2]->Wait()->session.counters().at(kCounter), 2);
  EXPECT_EQ(pending[3]->Wait()->session.counters().at(kCounter), 3);
  EXPECT_EQ(ReasonOf(pending[4]->Wait().status()), v1::INVALID_TRANSITION);
  ASSERT_TRUE(pending[5]->Wait().ok()) << pending[5]->Wait().status();
  EXPECT_EQ(pending[5]->Wait()->events.size(), 1u);
  ASSERT_TRUE(pending[6]->Wait().ok()) << pending[6]->Wait().status();
  const auto& started = pending[7]->Wait();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->events.size(), 2u);
  const auto sessions = AllSessions(database);
  EXPECT_TRUE(sessions.contains(pending[6]->Wait()->session.session_id()));
  EXPECT_EQ(sessions.at(run).current_task().task_id(), started->session.current_task().task_id());
  EXPECT_EQ(EventsByRequest(database).at(pending[7]->command.request_id), 2);
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// what a lane remembers

// Changes the session until a group of its own came from memory; answers how many changes it took.
int SettleIn(SessionStore& store, Reports& reports, const std::string& session_id) {
  for (int changes = 1; changes < 100; ++changes) {
    reports.Clear();
    EXPECT_TRUE(SubmitAndWait(store, Increment(session_id, kCounter, 1)).ok());
    if (!reports.groups().back().looked_up) return changes;
  }
  ADD_FAILURE() << "the lane remembers nothing";
  return 100;
}

TEST(Lane, DecidesFromMemoryUntilAnotherDaemonWasThere) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  const auto other = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  int counter = SettleIn(*store, reports, id);
  EXPECT_GT(counter, 2);
  for (int i = 0; i < 5; ++i) {
    reports.Clear();
    const auto outcome = SubmitAndWait(*store, Increment(id, kCounter, 1));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->session.counters().at(kCounter), ++counter);
    EXPECT_THAT(reports.groups(), ElementsAre(Field(&GroupReport::looked_up, false)));
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(SubmitAndWait(*other, Increment(id, kCounter, 1)).ok());
    ++counter;
    reports.Clear();
    const auto outcome = SubmitAndWait(*store, Increment(id, kCounter, 1));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->session.counters().at(kCounter), ++counter);
    EXPECT_THAT(reports.groups(), ElementsAre(AllOf(Field(&GroupReport::mode, CommitMode::kLocked),
                                                    Field(&GroupReport::conflict, true),
                                                    Field(&GroupReport::committed, true))));
    counter += SettleIn(*store, reports, id);
  }
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), counter);
  ExpectSound(database);
}

// What a group that was decided without locks counts on. Its events' positions would be refused,
// too, were they taken; what came too late is refused by this alone.
TEST(Lane, PositionsAdvanceOnlyFromWhereTheyWereThoughtToStandAndInTime) {
  TestDatabase database;
  auto connection =
      Connection::Open(LaneConnection({.dsn = database.dsn()}, "test"), TestDeadline());
  ASSERT_TRUE(connection.ok()) << connection.status();
  const auto advance = [&](int64_t from, std::optional<absl::Time> until) {
    BinaryParams params;
    params.AddInt2Array(std::vector<int16_t>{5});
    params.AddRows(std::vector<int64_t>{from}, [&](int64_t position, RowWriter& out) {
      out.Int2(5);
      out.Int8(position);
      out.Int8(3);
      out.Time(until);
    });
    (*connection)->Queue(kAdvancePositions, std::move(params));
    return SqlStateOf((*connection)->RoundTrip(TestDeadline()).status());
  };
  const absl::Time later = absl::Now() + absl::Hours(1), earlier = absl::Now() - absl::Hours(1);
  EXPECT_EQ(advance(0, std::nullopt), "");
  EXPECT_EQ(advance(3, later), "");
  EXPECT_EQ(advance(3, later), "23502") << "it has moved";
  EXPECT_EQ(advance(6, earlier), "23502") << "it is too late";
  EXPECT_EQ(advance(6, later), "");
}

// Creates sessions until one lies in the partition, and answers its id.
std::string NewSessionInPartition(SessionStore& store, int partition) {
  for (;;) {
    const std::string id = NewSessionIn(store, "interview").session_id();
    if (PartitionOf(id, store.partition_count()) == partition) return id;
  }
}

// Of what other sessions of the partition went through, nothing is lost on the session.
TEST(Lane, KnowsThatAnotherDaemonChangedAnotherSessionOfThePartition) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  const auto other = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  const int partition = PartitionOf(id, store->partition_count());
  const std::string neighbour = NewSessionInPartition(*other, partition);
  SettleIn(*store, reports, id);
  EXPECT_TRUE(SubmitAndWait(*other, Increment(neighbour, kCounter, 1)).ok());
  reports.Clear();
  EXPECT_TRUE(SubmitAndWait(*store, Increment(id, kCounter, 1)).ok());
  EXPECT_THAT(reports.groups(), ElementsAre(Field(&GroupReport::mode, CommitMode::kLocked)));
  ExpectSound(database);
}

// A group of sessions in many partitions, of two of which another daemon knows more.
TEST(Lane, AGroupThatMovedInPartIsDecidedByWhatIsThere) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports, OneLane));
  const auto other = OpenStore(database);
  std::vector<std::string> ids;
  std::map<std::string, int> counters;
  for (int i = 0; i < 12; ++i) {
    ids.push_back(NewSessionIn(*store, "interview").session_id());
    counters[ids.back()] = SettleIn(*store, reports, ids.back());
  }
  for (const bool disturbed : {false, true, true}) {
    for (const std::string& id : {ids[3], ids[8]}) {
      if (!disturbed) continue;
      EXPECT_TRUE(SubmitAndWait(*other, Increment(id, kCounter, 1)).ok());
      ++counters[id];
    }
    PendingList pending;
    {
      Stall stall(database, *store);
      reports.Clear();
      for (const std::string& id : ids)
        pending.push_back(std::make_unique<Pending>(*store, Increment(id, kCounter, 1)));
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto& outcome = pending[i]->Wait();
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      EXPECT_EQ(outcome->session.counters().at(kCounter), ++counters[ids[i]]) << i;
    }
    EXPECT_THAT(reports.groups(),
                Contains(AllOf(Field(&GroupReport::commands, ids.size()),
                               Field(&GroupReport::mode,
                                     disturbed ? CommitMode::kLocked : CommitMode::kOptimistic),
                               Field(&GroupReport::committed, true))));
  }
  ExpectSound(database);
}

// Waits until so many lanes wait for a lock.
void AwaitLanesThatWait(const TestDatabase& database, int lanes) {
  const SteadyTime give_up = TestDeadline();
  while (database.Ask("SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                      "AND datname = current_database() AND application_name = 'sessiond lane'") !=
         absl::StrCat(lanes)) {
    ASSERT_LT(SteadyTime::Now(), give_up);
    absl::SleepFor(absl::Milliseconds(1));
  }
}

// A store that keeps no sessions reads them without locks, once nobody has disturbed it for a
// while. What another daemon does between its reading and its writing, it must not overwrite: not
// even by a sign of life, which is no event, of a task that the other has completed.
TEST(Lane, WhatWasReadWithoutLocksIsNotWrittenIfAnotherDaemonWasThere) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports, [](SessionStoreOptions& options) {
                                 OneLane(options);
                                 options.cache_bytes_max = 100;  // None fits.
                               }));
  const auto other = OpenStore(database, OneLane);
  const std::string id = NewSessionIn(*store, "ticket_export").session_id();
  const int partition = PartitionOf(id, store->partition_count());
  const auto locker = database.Connect();

  int label = 0;
  const auto settle = [&] {
    do {
      reports.Clear();
      ASSERT_TRUE(SubmitAndWait(*store, SetLabel(id, "label", absl::StrCat(++label))).ok());
      ASSERT_LT(label, 100);
    } while (reports.groups().back().mode != CommitMode::kOptimistic);
    EXPECT_TRUE(reports.groups().back().looked_up);
    reports.Clear();
  };
  // Has `other` be the first of two that wait for the partition, and this store the second, that
  // has read what it had to.
  const auto race = [&](const Command& first, const Command& second, bool conflict = true) {
    settle();
    // Whoever finds a new version of the row when the wait is over tells the time of then.
    EXPECT_TRUE(
        locker
            ->Execute(
                absl::StrCat("BEGIN; UPDATE partitions SET position = position WHERE partition = ",
                             partition),
                TestDeadline())
            .ok());
    Pending at_other(*other, first);
    AwaitLanesThatWait(database, 1);
    Pending here(*store, second);
    AwaitLanesThatWait(database, 2);
    EXPECT_TRUE(locker->Execute("COMMIT", TestDeadline()).ok());
    EXPECT_TRUE(at_other.Wait().ok()) << at_other.Wait().status();
    const auto outcome = here.Wait();
    EXPECT_THAT(reports.groups(),
                ElementsAre(AllOf(Field(&GroupReport::mode,
                                        conflict ? CommitMode::kLocked : CommitMode::kOptimistic),
                                  Field(&GroupReport::conflict, conflict))));
    return std::pair(at_other.Wait(), outcome);
  };

  const auto changed = race(SetLabel(id, "other", "1"), SetLabel(id, "here", "1")).second;
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->session.labels().at("other"), "1");

  const std::string task = "run-1";
  ASSERT_TRUE(SubmitAndWait(*store, Advance(id, "upload")).ok());
  ASSERT_TRUE(SubmitAndWait(*store, StartTask(id, "processing", task, "processing")).ok());
  // Two signs of life do not disturb each other, and the later one stays.
  const auto [later, earlier] = race(Heartbeat(id, task), Heartbeat(id, task), /*conflict=*/false);
  ASSERT_TRUE(earlier.ok()) << earlier.status();
  const auto heard_of = [](const v1::Session& session) {
    return FromProto(session.current_task().heartbeat_time());
  };
  ASSERT_GT(heard_of(later->session), heard_of(earlier->session));
  EXPECT_EQ(heard_of(AllSessions(database).at(id)), heard_of(later->session));
  const auto beat = race(CompleteTask(id, task), Heartbeat(id, task)).second;
  EXPECT_EQ(ReasonOf(beat.status()), v1::TASK_COMPLETED) << beat.status();
  EXPECT_EQ(AllSessions(database).at(id).current_task().status(), v1::SessionTask::COMPLETED);

  // Somebody was there before anything is read: what is accepted learns of it from its commit, what
  // is refused from the positions that it reads.
  const auto was_locked = ElementsAre(
      AllOf(Field(&GroupReport::mode, CommitMode::kLocked), Field(&GroupReport::conflict, true)));
  settle();
  ASSERT_TRUE(SubmitAndWait(*other, SetLabel(id, "other", "2")).ok());
  ASSERT_TRUE(SubmitAndWait(*store, SetLabel(id, "here", "2")).ok());
  EXPECT_THAT(reports.groups(), was_locked);
  EXPECT_EQ(AllSessions(database).at(id).labels().at("other"), "2");
  settle();
  ASSERT_TRUE(SubmitAndWait(*other, SetLabel(id, "other", "3")).ok());
  EXPECT_EQ(ReasonOf(SubmitAndWait(*store, Advance(id, "nowhere")).status()),
            v1::INVALID_TRANSITION);
  EXPECT_THAT(reports.groups(), was_locked);

  // What is refused needs no lock; the database is asked all the same.
  for (const auto& [refused, reason] :
       {std::pair(Heartbeat(id, task), v1::TASK_COMPLETED),
        std::pair(Advance(id, "nowhere"), v1::INVALID_TRANSITION)}) {
    settle();
    EXPECT_EQ(ReasonOf(SubmitAndWait(*store, refused).status()), reason);
    EXPECT_THAT(reports.groups(),
                ElementsAre(AllOf(Field(&GroupReport::mode, CommitMode::kOptimistic),
                                  Field(&GroupReport::looked_up, true))));
  }
  ExpectSound(database);
}

TEST(Lane, ARepeatedRequestThatItHasForgottenIsFoundAllTheSame) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  const std::string id = NewSessionIn(*store, "interview").session_id();
  // The one would be taken for another increment; the other be refused, for the session is paused.
  const Command increment = WithRequestId(Increment(id, kCounter, 1), "increment");
  const Command pause = WithRequestId(About<v1::PauseSessionRequest>(id), "pause");
  ASSERT_TRUE(SubmitAndWait(*store, increment).ok());
  ASSERT_TRUE(SubmitAndWait(*store, pause).ok());
  ASSERT_TRUE(SubmitAndWait(*store, About<v1::ResumeSessionRequest>(id)).ok());
  TerminateLanes(*database.Connect());
  int counter = 1 + SettleIn(*store, reports, id);

  const auto again = SubmitAndWait(*store, increment);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->events.empty());
  EXPECT_EQ(again->session.counters().at(kCounter), counter);
  counter += SettleIn(*store, reports, id);
  ASSERT_TRUE(SubmitAndWait(*store, About<v1::PauseSessionRequest>(id)).ok());
  const auto paused = SubmitAndWait(*store, pause);
  ASSERT_TRUE(paused.ok()) << paused.status();
  EXPECT_TRUE(paused->events.empty());
  EXPECT_EQ(EventsByRequest(database).at("increment"), 1);
  EXPECT_EQ(EventsByRequest(database).at("pause"), 1);
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), counter);
  ExpectSound(database);
}

// What the optimistic way does not read, though the commit would not find it.

TEST(Lane, WhatIsGoneIsNotBornAgain) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  const v1::Session session = NewSessionIn(*store, "interview");
  const std::string& id = session.session_id();
  ASSERT_TRUE(SubmitAndWait(*store, Erase(id, session.owner_id())).ok());
  SettleIn(*store, reports,
           NewSessionInPartition(*store, PartitionOf(id, store->partition_count())));

  v1::CreateSessionRequest again = NewSession("interview");
  again.set_session_id(id);
  for (const auto& [command, reason, mode] :
       {std::tuple(Create(store->catalog().Newest("interview"), again), v1::SESSION_EXISTS,
                   CommitMode::kOptimistic),
        std::tuple(About<v1::PauseSessionRequest>(id), v1::ARCHIVED, CommitMode::kLocked)}) {
    reports.Clear();
    EXPECT_EQ(ReasonOf(SubmitAndWait(*store, command).status()), reason);
    EXPECT_THAT(reports.groups(), ElementsAre(Field(&GroupReport::mode, mode)));
  }
  ExpectSound(database);
}

TEST(Lane, AWorkflowThatAnotherDaemonMadeIsReadWhereASessionKeepsIt) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  v1::Workflow changed = BuiltinDefinition("interview");
  changed.set_display_name("Interview, once more");
  const auto other =
      OpenStore(database, [&](SessionStoreOptions& options) { options.workflows = {changed}; });
  const v1::Session session = NewSessionIn(*other, "interview");
  EXPECT_EQ(session.workflow_revision(), 2);
  const int partition = PartitionOf(session.session_id(), store->partition_count());
  SettleIn(*store, reports, NewSessionInPartition(*store, partition));
  reports.Clear();
  const auto labelled = SubmitAndWait(*store, SetLabel(session.session_id(), "a", "1"));
  EXPECT_TRUE(labelled.ok()) << labelled.status();
  EXPECT_THAT(reports.groups(), ElementsAre(Field(&GroupReport::mode, CommitMode::kLocked)));
  ExpectSound(database);
}

// As a lane itself does when nobody knows whether it was committed: with the id drawn before.
TEST(Lane, ACreationThatIsRunAgainFindsItsSession) {
  TestDatabase database;
  Reports reports;
  const auto store = OpenStore(database, To(reports));
  Pending first(*store,
                WithRequestId(Create(store->catalog().Newest("interview"), NewSession("interview")),
                              "creation"));
  ASSERT_TRUE(first.Wait().ok()) << first.Wait().status();
  const std::string id = first.Wait()->session.session_id();
  EXPECT_TRUE(first.command.session_id_drawn);
  SettleIn(*store, reports, id);
  for (const bool remembered : {true, false}) {
    if (!remembered) TerminateLanes(*database.Connect());
    reports.Clear();
    Pending again(*store, first.command);
    ASSERT_TRUE(again.Wait().ok()) << again.Wait().status();
    EXPECT_EQ(again.Wait()->session.session_id(), id);
    EXPECT_TRUE(again.Wait()->events.empty());
    EXPECT_EQ(reports.groups().back().mode, CommitMode::kLocked);
  }
  ExpectSound(database);
}

// One after the other, whoever was dated from memory and who was not.
TEST(Lane, WhatHappensLaterIsDatedLater) {
  TestDatabase database;
  const auto store = OpenStore(database);
  absl::Time last = absl::InfinitePast();
  for (int i = 0; i < 1500; ++i) {
    const v1::Session session = NewSessionIn(*store, "interview");
    const absl::Time now = FromProto(session.create_time());
    EXPECT_GT(now, last) << i;
    last = now;
  }
}

// -----------------------------------------------------------------------------------------------
// whatever dies

// An acknowledged change is there exactly once, whenever the backend died: before, at or after
// COMMIT; and what is answered to the first who asks is the session as this change left it.
TEST(Lane, BackendsKilledAtRandomLoseNothingAndDoubleNothing) {
  const uint64_t seed = TestSeed();
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto other = OpenStore(database);
  std::vector<std::string> sessions;
  for (int i = 0; i < 8; ++i) sessions.push_back(NewSessionIn(*store, "interview").session_id());

  // They go on until the lanes were killed so often, however fast the machine is.
  constexpr int kCallers = 12, kEach = 60, kKills = 10;
  std::atomic<int> at_work = kCallers, sent = 0, acknowledged = 0, refused = 0, kills = 0;
  std::mutex mutex;
  // Whose change was answered first with this revision of this session.
  std::map<std::pair<std::string, int>, std::string> answered;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(caller));
      for (int i = 0; i < kEach || kills < kKills; ++i) {
        // One in three creates. One in three has no id of its own; the others are sent again, to
        // either daemon, until they are answered.
        const bool creates = random() % 3 == 0;
        const bool again = random() % 3 != 0;
        sent += again ? 1 : 0;
        for (bool done = false, first = true; !done;) {
          SessionStore& to = random() % 2 == 0 ? *store : *other;
          Command command = creates
                                ? Create(to.catalog().Newest("interview"), NewSession("interview"))
                                : Increment(sessions[i % sessions.size()], kCounter, 1);
          if (again)
            command = WithRequestId(std::move(command), absl::StrCat("request-", caller, "-", i));
          const auto outcome = SubmitAndWait(to, std::move(command));
          done = outcome.ok() || !again;
          acknowledged += again && outcome.ok() ? 1 : 0;
          if (outcome.ok() && first) {
            std::lock_guard lock(mutex);
            const auto& session = outcome->session;
            const auto& request_id = outcome->events.empty() ? "" : outcome->events[0].request_id();
            EXPECT_TRUE(
                answered.try_emplace({session.session_id(), session.sequence()}, request_id).second)
                << "one revision, answered twice";
          }
          first = false;
          if (outcome.ok()) continue;
          ++refused;
          EXPECT_EQ(ReasonOf(outcome.status()), v1::DATABASE_UNAVAILABLE) << outcome.status();
          absl::SleepFor(absl::Milliseconds(1));  // As callers do, so that the lanes can connect.
        }
      }
      --at_work;
    });
  }
  std::mt19937_64 random(seed);
  const auto connection = database.Connect();
  // Ever more rarely, so that on a machine of any speed something gets done between two of them.
  for (uint64_t pause_max = 60'000; at_work > 0; pause_max += 1'000) {
    absl::SleepFor(absl::Microseconds(random() % pause_max));
    TerminateLanes(*connection);
    ++kills;
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(acknowledged, sent) << "seed " << seed;

  const auto count = EventsByRequest(database);
  int found = 0;
  for (const auto& [request_id, events] : count) {
    EXPECT_EQ(events, 1) << request_id << ", seed " << seed;
    found += absl::StartsWith(request_id, "request-") ? 1 : 0;
  }
  EXPECT_EQ(found, sent);
  const auto events = AllEvents(database);
  for (const auto& [revision, request_id] : answered)
    EXPECT_EQ(events.at(revision.first)[revision.second - 1].request_id(), request_id);
  ExpectSound(database);
  RecordProperty("kills", kills);
  RecordProperty("refused", refused);
}

// -----------------------------------------------------------------------------------------------
// deadlines, overload, the end

TEST(Lane, WhatNobodyWaitsForAnyMoreIsNotWritten) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList late, in_time;
  {
    Stall stall(database, *store);
    const SteadyTime soon = SteadyTime::Now() + absl::Milliseconds(1);
    for (int i = 0; i < 10; ++i) {
      late.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 100), soon));
      in_time.push_back(std::make_unique<Pending>(
          *store, Increment(session.session_id(), kCounter, 1), TestDeadline()));
    }
    while (SteadyTime::Now() <= soon) std::this_thread::yield();
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(late[i]->Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
    ASSERT_TRUE(in_time[i]->Wait().ok());
    EXPECT_EQ(in_time[i]->Wait()->session.counters().at(kCounter), i + 1) << "in order of arrival";
  }
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter), 10);
  ExpectSound(database);
}

// Of a group that waits for its partitions, who leaves meanwhile is not written, and neither is
// whose deadline passes.
TEST(Lane, WhatNobodyWaitsForByTheTimeItIsWrittenIsNotWritten) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const v1::Session session = NewSessionIn(*store, "interview");
  const std::string& id = session.session_id();
  ByHand lock(database, LockPartition(PartitionOf(id, store->partition_count())));
  std::atomic<bool> left = false;
  const SteadyTime soon = SteadyTime::Now() + absl::Milliseconds(100);
  // The first of these is a group of its own, whatever comes behind it another one.
  Pending first(*store, Increment(id, kCounter, 100), {SteadyTime::InfiniteFuture(), &left});
  AwaitLanesThatWait(database, 1);
  Pending late(*store, Increment(id, kCounter, 100), soon);
  Pending leaves(*store, Increment(id, kCounter, 100), {TestDeadline(), &left});
  Pending stays(*store, Increment(id, kCounter, 1), TestDeadline());
  while (SteadyTime::Now() <= soon) absl::SleepFor(absl::Milliseconds(1));
  left = true;
  lock.Release();
  EXPECT_EQ(first.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(late.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(leaves.Wait().status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(stays.Wait().ok()) << stays.Wait().status();
  EXPECT_EQ(stays.Wait()->session.counters().at(kCounter), 1);
  EXPECT_EQ(stays.Wait()->session.sequence(), 2);
  ExpectSound(database);
}

TEST(Lane, MoreThanItTakesOnIsRefusedAtOnce) {
  TestDatabase database;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    OneLane(options);
    options.inbox.items_max = 5;
  });
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList pending;
  {
    Stall stall(database, *store);
    for (int i = 0; i < 5; ++i)
      pending.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1)));
    EXPECT_EQ(store->waiting(), 5u);
    const auto refused = SubmitAndWait(*store, Increment(session.session_id(), kCounter, 1));
    EXPECT_EQ(ReasonOf(refused.status()), v1::OVERLOADED);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GT(RetryDelayOf(refused.status()), absl::ZeroDuration());
  }
  for (const auto& one : pending) EXPECT_TRUE(one->Wait().ok());
  EXPECT_TRUE(SubmitAndWait(*store, Increment(session.session_id(), kCounter, 1)).ok());
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter), 6);
}

TEST(Lane, DrainingFinishesWhatWaitsAndRefusesWhatComes) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  const v1::Session session = NewSessionIn(*store, "interview");
  PendingList pending;
  std::thread drain;
  {
    Stall stall(database, *store);
    for (int i = 0; i < 300; ++i)
      pending.push_back(
          std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1)));
    drain = std::thread([&] { store->Drain(); });
    // Until the inbox is closed it still takes some.
    for (bool closed = false; !closed;) {
      auto more = std::make_unique<Pending>(*store, Increment(session.session_id(), kCounter, 1));
      closed = more->done();
      if (!closed) {
        pending.push_back(std::move(more));
        absl::SleepFor(absl::Milliseconds(1));
        continue;
      }
      EXPECT_EQ(ReasonOf(more->Wait().status()), v1::DRAINING);
      EXPECT_EQ(more->Wait().status().code(), absl::StatusCode::kUnavailable);
      EXPECT_GT(RetryDelayOf(more->Wait().status()), absl::ZeroDuration());
    }
  }
  drain.join();
  for (const auto& one : pending) {
    EXPECT_TRUE(one->done());
    EXPECT_TRUE(one->Wait().ok()) << one->Wait().status();
  }
  EXPECT_EQ(ReasonOf(ReadAndWait(*store, session.session_id()).status()), v1::DRAINING);
  EXPECT_EQ(AllSessions(database).at(session.session_id()).counters().at(kCounter),
            static_cast<int>(pending.size()));
  ExpectSound(database);
}

}  // namespace
}  // namespace sessiond::db
