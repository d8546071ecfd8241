// The sweeper: what was left in CREATING is deleted once, however many sweep, and old request ids
// are forgotten.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/submit_and_wait.h"
#include "server/sweeper.h"
#include "state_machine/timestamps.h"
#include "tests/store_fixture.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionEvent;

// Waits for what a sweep brings about.
bool Eventually(const std::function<bool()>& holds) {
  for (const SteadyTime end = TestDeadline(); SteadyTime::Now() < end;) {
    if (holds()) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

// A sweeper with what it needs.
struct Sweeping {
  Metrics metrics{absl::Span<const std::string>()};
  Journal journal{metrics};
  Sweeper sweeper;

  Sweeping(SweeperOptions options, db::SessionStore& store)
      : sweeper(std::move(options), store, journal) {}
};

SweeperOptions Often(const TestDatabase& database) {
  return {.dsn = database.dsn(),
          .heartbeat_period = absl::Milliseconds(5),
          .period = absl::Milliseconds(5),
          .retention_period = absl::Milliseconds(5)};
}

std::string NewCreating(db::SessionStore& store, bool hold = false) {
  v1::CreateSessionRequest request = NewSession("interview");
  request.set_creating(true);
  request.mutable_session()->set_hold(hold);
  return db::NewSessionIn(store, "interview", &request).session_id();
}

void MakeOld(const TestDatabase& database, const std::string& what) {
  const absl::Status made = database.Connect()->Execute(what, TestDeadline());
  EXPECT_TRUE(made.ok()) << made;
}

constexpr char kAllSessionsAreOld[] =
    "UPDATE sessions SET created_at = created_at - interval '61 minutes'";

TEST(Sweeper, DeletesWhatWasLeftInCreatingExactlyOnce) {
  TestDatabase database;
  const auto one = db::OpenStore(database);
  const auto two = db::OpenStore(database);
  std::vector<std::string> stale;
  for (int i = 0; i < 20; ++i) stale.push_back(NewCreating(*one));
  const std::string active = db::NewSessionIn(*one, "interview").session_id();
  const std::string held = NewCreating(*one, /*hold=*/true);
  MakeOld(database, kAllSessionsAreOld);
  const std::string fresh = NewCreating(*one);
  {
    Sweeping first(Often(database), *one);
    Sweeping second(Often(database), *two);
    EXPECT_TRUE(Eventually([&] {
      return database.Ask("SELECT count(*)::text FROM sessions WHERE state = 5") == "20";
    }));
  }
  const auto events = db::AllEvents(database);
  for (const std::string& id : stale) {
    ASSERT_EQ(events.at(id).size(), 2u) << "created, and deleted once";
    const SessionEvent& deleted = events.at(id).back();
    EXPECT_EQ(deleted.type(), SessionEvent::DELETED);
    EXPECT_EQ(deleted.trigger(), SessionEvent::SYSTEM_TIMEOUT);
    EXPECT_EQ(deleted.actor(), "system");
    EXPECT_EQ(deleted.caller(), "system");
    EXPECT_EQ(deleted.old_state(), Session::CREATING);
    EXPECT_FALSE(deleted.reason().empty());
  }
  for (const std::string& id : {active, held, fresh}) EXPECT_EQ(events.at(id).size(), 1u) << id;
}

// A sweep looks at a hundred at most.
TEST(Sweeper, IsNotHeldUpByWhatIsHeld) {
  TestDatabase database;
  const auto store = db::OpenStore(database);
  for (int i = 0; i < 100; ++i) NewCreating(*store, /*hold=*/true);
  const std::string stale = NewCreating(*store);
  MakeOld(database, kAllSessionsAreOld);
  Sweeping sweeper(Often(database), *store);
  EXPECT_TRUE(
      Eventually([&] { return db::AllSessions(database).at(stale).state() == Session::DELETED; }));
}

// Plans made for an empty table read all of it once it is full.
TEST(Sweeper, AnalyzesWhatGrewAndNotWhatOnlyChanged) {
  TestDatabase database;
  const auto store = db::OpenStore(database);
  const auto analyzed = [&] {
    return database.Ask(
        "SELECT analyze_count::text FROM pg_stat_user_tables WHERE relname = 'session_requests'");
  };
  Sweeping sweeper(Often(database), *store);
  const auto write = [&](const std::string& sql) {
    MakeOld(database, absl::StrCat(sql, "; SELECT pg_stat_force_next_flush()"));
  };
  write(
      "INSERT INTO session_requests (partition, request_key, fingerprint, session_id, created_at) "
      "SELECT 0, gen_random_uuid(), gen_random_uuid(), 'nobody', now() "
      "FROM generate_series(1, 300)");
  EXPECT_TRUE(Eventually([&] { return analyzed() == "1"; }));
  for (int i = 0; i < 3; ++i) write("UPDATE session_requests SET created_at = now()");
  // Between the ends of two stale creations lies a whole sweep.
  for (int i = 0; i < 2; ++i) {
    const std::string stale = NewCreating(*store);
    MakeOld(database, kAllSessionsAreOld);
    EXPECT_TRUE(Eventually(
        [&] { return db::AllSessions(database).at(stale).state() == Session::DELETED; }));
  }
  EXPECT_EQ(analyzed(), "1");
}

// While a table is vacuumed by hand, or gets an index, nobody else analyzes it.
TEST(Sweeper, GoesOnWhileATableCannotBeAnalyzed) {
  TestDatabase database;
  const auto store = db::OpenStore(database);
  MakeOld(database,
          "INSERT INTO session_requests (partition, request_key, fingerprint, session_id, "
          "created_at) SELECT 0, gen_random_uuid(), gen_random_uuid(), 'nobody', now() "
          "FROM generate_series(1, 300); SELECT pg_stat_force_next_flush()");
  const auto somebody = database.Connect();
  ASSERT_TRUE(somebody
                  ->Execute("BEGIN; LOCK TABLE session_requests IN SHARE UPDATE EXCLUSIVE MODE",
                            TestDeadline())
                  .ok());
  const std::string stale = NewCreating(*store);
  MakeOld(database, kAllSessionsAreOld);
  SweeperOptions options = Often(database);
  options.period = absl::Hours(1);  // There is one sweep.
  Sweeping sweeper(options, *store);
  EXPECT_TRUE(
      Eventually([&] { return db::AllSessions(database).at(stale).state() == Session::DELETED; }));
}

TEST(Sweeper, ForgetsRequestsAfterADay) {
  TestDatabase database;
  const auto store = db::OpenStore(database);
  const std::string id = db::NewSessionIn(*store, "interview").session_id();
  const Command old = WithRequestId(SetLabel(id, "a", "1"), "old");
  ASSERT_TRUE(db::SubmitAndWait(*store, old).ok());
  // More than a batch.
  MakeOld(
      database,
      "INSERT INTO session_requests SELECT partition, gen_random_uuid(), fingerprint, session_id, "
      "created_at, answer FROM session_requests, generate_series(1, 6000)");
  MakeOld(database,
          "UPDATE session_requests SET created_at = created_at - interval '1441 minutes'");
  const Command young = WithRequestId(SetLabel(id, "b", "1"), "young");
  ASSERT_TRUE(db::SubmitAndWait(*store, young).ok());
  MakeOld(database,
          "UPDATE session_requests SET created_at = created_at - interval '1439 minutes' "
          "WHERE created_at > now() - interval '1 hour'");
  Sweeping sweeper(Often(database), *store);
  EXPECT_TRUE(Eventually(
      [&] { return database.Ask("SELECT count(*)::text FROM session_requests") == "1"; }));
  // What is forgotten is a new request; what is not is a repeated one.
  const auto again = db::SubmitAndWait(*store, old);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->events.size(), 1u);
  EXPECT_TRUE(db::SubmitAndWait(*store, young)->events.empty());
}

TEST(Sweeper, EndsBetweenTwoBatchesWhenItIsAskedTo) {
  TestDatabase database;
  const auto store = db::OpenStore(database);
  ASSERT_TRUE(db::SubmitAndWait(
                  *store, SetLabel(db::NewSessionIn(*store, "interview").session_id(), "a", "1"))
                  .ok());
  MakeOld(
      database,
      "INSERT INTO session_requests SELECT partition, gen_random_uuid(), fingerprint, session_id, "
      "created_at, answer FROM session_requests, generate_series(1, 60000);"
      "UPDATE session_requests SET created_at = created_at - interval '1441 minutes';"
      "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
      "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;"
      "CREATE TRIGGER slow BEFORE DELETE ON session_requests EXECUTE FUNCTION slow()");
  const auto left = [&] { return database.Ask("SELECT count(*)::text FROM session_requests"); };
  const std::string before = left();
  {
    Sweeping sweeping(Often(database), *store);
    EXPECT_TRUE(Eventually([&] { return left() != before; }));
  }
  EXPECT_NE(left(), "0");
}

// A ticket_export session with a running task, of this timeout.
std::string NewRunning(db::SessionStore& store, absl::Duration timeout) {
  std::string id = db::NewSessionIn(store, "ticket_export").session_id();
  for (const char* stage : {"upload", "processing"})
    EXPECT_TRUE(db::SubmitAndWait(store, Advance(id, stage)).ok());
  Command start = StartTask(id, "processing");
  if (timeout > absl::ZeroDuration()) {
    *std::get<v1::StartTaskRequest>(start.request).mutable_heartbeat_timeout() = ToProto(timeout);
  }
  EXPECT_TRUE(db::SubmitAndWait(store, start).ok());
  return id;
}

TEST(Sweeper, FailsSilentTasksExactlyOnceHoweverManySweep) {
  TestDatabase database;
  const auto one = db::OpenStore(database);
  const auto two = db::OpenStore(database);
  std::vector<std::string> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(NewRunning(*one, absl::Seconds(30)));
  const std::string patient = NewRunning(*one, absl::Hours(3));
  const std::string endless = NewRunning(*one, absl::ZeroDuration());
  MakeOld(database, "UPDATE session_tasks SET heartbeat_at = heartbeat_at - interval '1 hour'");
  {
    Sweeping first(Often(database), *one);
    Sweeping second(Often(database), *two);
    EXPECT_TRUE(Eventually([&] {
      return database.Ask("SELECT count(*)::text FROM session_tasks WHERE status = 3") == "20";
    }));
  }
  const auto events = db::AllEvents(database);
  const auto sessions = db::AllSessions(database);
  for (const std::string& id : silent) {
    ASSERT_EQ(events.at(id).size(), 6u) << "failed once, with its error";
    const SessionEvent& failed = events.at(id)[4];
    EXPECT_EQ(failed.type(), SessionEvent::TASK_FAILED);
    EXPECT_EQ(failed.trigger(), SessionEvent::SYSTEM_TIMEOUT);
    EXPECT_EQ(failed.actor(), "system");
    EXPECT_FALSE(failed.reason().empty());
    EXPECT_EQ(events.at(id)[5].type(), SessionEvent::ERROR_RECORDED);
    EXPECT_EQ(sessions.at(id).current_task().retry_count(), 1);
  }
  EXPECT_EQ(database.Ask("SELECT string_agg(DISTINCT category::text, ' ') FROM session_errors"),
            "3")
      << "TEMPORARY";
  for (const std::string& id : {patient, endless})
    EXPECT_EQ(sessions.at(id).current_task().status(), v1::SessionTask::RUNNING);
  db::ExpectSound(database);
}

TEST(Sweeper, StopsAbandonedSessionsOnceAndOnlyThose) {
  TestDatabase database;
  const auto one = db::OpenStore(database);
  const auto two = db::OpenStore(database);
  const std::string running = NewRunning(*one, absl::ZeroDuration());
  const std::string paused = db::NewSessionIn(*one, "ticket_export").session_id();
  ASSERT_TRUE(db::SubmitAndWait(*one, About<v1::PauseSessionRequest>(paused)).ok());
  const std::string failed = db::NewSessionIn(*one, "ticket_export").session_id();
  ASSERT_TRUE(db::SubmitAndWait(*one, About<v1::FailSessionRequest>(failed)).ok());
  const std::string interview = db::NewSessionIn(*one, "interview").session_id();
  v1::CreateSessionRequest creation = NewSession("ticket_export");
  creation.mutable_session()->set_hold(true);
  const std::string held = db::NewSessionIn(*one, "ticket_export", &creation).session_id();
  MakeOld(database, "UPDATE sessions SET created_at = created_at - interval '15 days'");
  const std::string young = db::NewSessionIn(*one, "ticket_export").session_id();
  MakeOld(database, absl::StrCat("UPDATE sessions SET created_at = created_at - interval "
                                 "'13 days 23 hours' WHERE id = '",
                                 young, "'"));
  {
    Sweeping first(Often(database), *one);
    Sweeping second(Often(database), *two);
    EXPECT_TRUE(Eventually([&] {
      return database.Ask("SELECT count(*)::text FROM sessions WHERE state = 4") == "3";
    }));
  }
  const auto events = db::AllEvents(database);
  for (const std::string& id : {running, paused, failed}) {
    int stops = 0;
    for (const SessionEvent& event : events.at(id))
      stops += event.type() == SessionEvent::STOPPED ? 1 : 0;
    EXPECT_EQ(stops, 1) << id;
    EXPECT_EQ(events.at(id).back().trigger(), SessionEvent::SYSTEM_TIMEOUT);
  }
  const auto sessions = db::AllSessions(database);
  EXPECT_EQ(sessions.at(running).current_task().status(), v1::SessionTask::CANCELLED);
  EXPECT_TRUE(sessions.at(running).has_purge_time());
  for (const std::string& id : {interview, held, young})
    EXPECT_EQ(sessions.at(id).state(), Session::ACTIVE) << id;
}

TEST(Sweeper, ArchivesWhatIsDueOnceAndPassesOverWhatIsHeld) {
  TestDatabase database;
  const auto with_short_lived = [](db::SessionStoreOptions& options) {
    options.workflows.push_back(ShortLivedDefinition());
  };
  const auto one = db::OpenStore(database, with_short_lived);
  const auto two = db::OpenStore(database, with_short_lived);
  std::vector<std::string> due;
  // More than a batch.
  for (int i = 0; i < 300; ++i) due.push_back(db::NewSessionIn(*one, "short_lived").session_id());
  const std::string kept = db::NewSessionIn(*one, "ticket_export").session_id();
  v1::CreateSessionRequest creation = NewSession("short_lived");
  creation.mutable_session()->set_hold(true);
  const std::string held = db::NewSessionIn(*one, "short_lived", &creation).session_id();
  std::vector<Command> stops;
  for (const std::string& id : due) {
    EXPECT_TRUE(db::SubmitAndWait(*one, RecordError(id, AnError(v1::SessionError::BLOCKING))).ok());
    stops.push_back(About<v1::StopSessionRequest>(id));
  }
  for (const std::string& id : {kept, held}) stops.push_back(About<v1::StopSessionRequest>(id));
  for (const auto& stopped : db::SubmitAllAndWait(*one, stops)) EXPECT_TRUE(stopped.ok());
  {
    Sweeping first(Often(database), *one);
    Sweeping second(Often(database), *two);
    EXPECT_TRUE(
        Eventually([&] { return database.Ask("SELECT count(*)::text FROM tombstones") == "300"; }));
  }
  const auto events = db::AllEvents(database);
  for (const std::string& id : due) {
    ASSERT_EQ(events.at(id).size(), 1u);
    EXPECT_EQ(events.at(id)[0].type(), SessionEvent::ARCHIVED);
    EXPECT_EQ(events.at(id)[0].trigger(), SessionEvent::SYSTEM_TIMEOUT);
  }
  EXPECT_EQ(database.Ask("SELECT sum(errors)::text FROM error_patterns"), "300") << "counted once";
  EXPECT_EQ(db::AllSessions(database).size(), 2u);
  db::ExpectSound(database);
}

// A batch and more cannot be archived, and is due first.
TEST(Sweeper, ArchivesWhatIsDueBehindWhatCannotBe) {
  TestDatabase database;
  const auto store = db::OpenStore(database, [](db::SessionStoreOptions& options) {
    options.workflows.push_back(ShortLivedDefinition());
  });
  std::vector<Command> stops;
  std::vector<std::string> ids;
  for (int i = 0; i < 300; ++i) {
    ids.push_back(db::NewSessionIn(*store, "short_lived").session_id());
    stops.push_back(About<v1::StopSessionRequest>(ids.back()));
  }
  for (const auto& stopped : db::SubmitAllAndWait(*store, stops)) EXPECT_TRUE(stopped.ok());
  MakeOld(database, absl::StrCat("UPDATE sessions SET purge_at = purge_at - interval '1 hour' "
                                 "WHERE id <> '",
                                 ids.back(), "'"));
  MakeOld(database, absl::StrCat("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
                                 "BEGIN RAISE 'no'; END $$; "
                                 "CREATE TRIGGER refuse BEFORE DELETE ON sessions FOR EACH ROW "
                                 "WHEN (OLD.id <> '",
                                 ids.back(), "') EXECUTE FUNCTION refuse()"));
  Sweeping sweeper(Often(database), *store);
  EXPECT_TRUE(
      Eventually([&] { return database.Ask("SELECT count(*)::text FROM tombstones") == "1"; }));
}

}  // namespace
}  // namespace sessiond
