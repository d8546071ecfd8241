// The pool for slow queries: what it answers when all is well, when time is short, when too many
// ask, and when the database goes away.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "db/query/query_pool.h"
#include "state_machine/refusal.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {
namespace {

SteadyTime Soon() { return SteadyTime::Now() + absl::Seconds(30); }

// An answer that is awaited.
class Answer {
 public:
  QueryPool::Done Done() {
    return [this](QueryPool::Results results) {
      results_ = std::move(results);
      done_.Notify();
    };
  }
  QueryPool::Results& Wait() {
    EXPECT_TRUE(done_.WaitForNotificationWithTimeout(absl::Seconds(60)));
    return results_;
  }
  bool done() const { return done_.HasBeenNotified(); }

 private:
  QueryPool::Results results_ = absl::UnknownError("not answered");
  absl::Notification done_;
};

QueryPool::Results Ask(QueryPool& pool, std::vector<Sql> statements, SteadyTime deadline = Soon()) {
  Answer answer;
  pool.Run(std::move(statements), deadline, answer.Done());
  return std::move(answer.Wait());
}

Sql Text(std::string sql) { return {std::move(sql), {}}; }

int32_t BackendPid(QueryPool& pool) {
  const auto results = Ask(pool, {Text("SELECT pg_backend_pid()")});
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? (*results)[0].Int4(0, 0) : 0;
}

TEST(QueryPool, AnswersEveryStatementOfATrip) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn()});
  const auto results = Ask(pool, {{"SELECT $1::text || $2", {"a", "b"}},
                                  Text("SELECT 7::bigint"),
                                  {"SELECT $1::text IS NULL", {std::nullopt}}});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), 3u);
  EXPECT_EQ((*results)[0].Text(0, 0), "ab");
  EXPECT_EQ((*results)[1].Int8(0, 0), 7);
  EXPECT_TRUE((*results)[2].Bool(0, 0));
}

TEST(QueryPool, ItsConnectionsReadOnlyAndRideIndexes) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  EXPECT_EQ((*Ask(pool, {Text("SELECT current_setting('enable_seqscan')")}))[0].Text(0, 0), "off");
  EXPECT_FALSE(Ask(pool, {Text("CREATE TABLE t ()")}).ok());
  EXPECT_TRUE(Ask(pool, {Text("SELECT 1")}).ok()) << "an error costs no more than its trip";
}

TEST(QueryPool, TellsTheDatabaseItsDeadlineAndKeepsTheConnection) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  // The connection is given up where the database says too late that it has stopped: on a machine
  // that has other things to do it may, but not every time.
  bool kept = false;
  for (int i = 0; i < 3 && !kept; ++i) {
    const int32_t pid = BackendPid(pool);
    const SteadyTime begin = SteadyTime::Now();
    const auto results = Ask(pool, {Text("SELECT pg_sleep(20)")}, begin + absl::Milliseconds(200));
    EXPECT_EQ(results.status().code(), absl::StatusCode::kDeadlineExceeded) << results.status();
    EXPECT_LT(SteadyTime::Now() - begin, absl::Seconds(15));
    kept = BackendPid(pool) == pid;
  }
  EXPECT_TRUE(kept);
  EXPECT_EQ(
      database.Ask("SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' "
                   "AND state = 'active' AND pid <> pg_backend_pid()"),
      "0");
}

TEST(QueryPool, TheLongestTripIsItsOwnChoice) {
  TestDatabase database;
  QueryPool pool(
      {.dsn = database.dsn(), .connections = 1, .round_trip_time_max = absl::Seconds(1)});
  const auto results = Ask(pool, {Text("SELECT pg_sleep(20)")}, SteadyTime::InfiniteFuture());
  EXPECT_EQ(results.status().code(), absl::StatusCode::kDeadlineExceeded) << results.status();
}

TEST(QueryPool, WhatExpiredIsNotAsked) {
  // Nobody listens there: an attempt to connect would answer UNAVAILABLE.
  QueryPool pool({.dsn = "host=/nonexistent"});
  const auto results = Ask(pool, {Text("SELECT 1")}, SteadyTime::Now() - absl::Seconds(1));
  EXPECT_EQ(results.status().code(), absl::StatusCode::kDeadlineExceeded) << results.status();
}

TEST(QueryPool, ReadsAgainWhenItsConnectionHadDied) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  for (int round = 0; round < 5; ++round) {
    const int32_t pid = BackendPid(pool);
    database.Ask(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 5000)::text"));
    const int32_t next = BackendPid(pool);
    EXPECT_NE(next, 0);
    EXPECT_NE(next, pid);
  }
}

TEST(QueryPool, AQueryThatEndsEveryConnectionIsRefusedAndHarmsNoOther) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  const auto results = Ask(pool, {Text("SELECT pg_terminate_backend(pg_backend_pid())")});
  EXPECT_EQ(ReasonOf(results.status()), v1::DATABASE_UNAVAILABLE) << results.status();
  EXPECT_NE(BackendPid(pool), 0);
}

TEST(QueryPool, RefusesAtOnceWhileTheDatabaseIsAway) {
  QueryPool pool({.dsn = "host=/nonexistent", .connections = 1});
  const SteadyTime begin = SteadyTime::Now();
  for (int i = 0; i < 100; ++i) {
    const auto results = Ask(pool, {Text("SELECT 1")});
    ASSERT_EQ(ReasonOf(results.status()), v1::DATABASE_UNAVAILABLE) << results.status();
    ASSERT_EQ(results.status().code(), absl::StatusCode::kUnavailable);
    ASSERT_TRUE(
        results.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  }
  EXPECT_LT(SteadyTime::Now() - begin, absl::Seconds(10));
}

// Occupies the pool's only connection until it is destroyed, by a lock that the test holds.
class Occupied {
 public:
  Occupied(const TestDatabase& database, QueryPool& pool) : holder_(database.Connect()) {
    EXPECT_TRUE(holder_->Execute("SELECT pg_advisory_lock(1)", Soon()).ok());
    pool.Run({Text("SELECT pg_advisory_lock_shared(1)")}, Soon(), answer_.Done());
    const std::string waiting =
        "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while (database.Ask(waiting) != "1") {
    }
  }
  void Release() { EXPECT_TRUE(holder_->Execute("SELECT pg_advisory_unlock(1)", Soon()).ok()); }
  Answer& answer() { return answer_; }

 private:
  std::unique_ptr<Connection> holder_;
  Answer answer_;
};

TEST(QueryPool, MoreThanMayWaitIsRefusedAndTheRestAnswered) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1, .waiting_max = 3});
  Occupied occupied(database, pool);
  std::vector<Answer> waiting(3);
  for (Answer& answer : waiting) pool.Run({Text("SELECT 1")}, Soon(), answer.Done());
  const auto refused = Ask(pool, {Text("SELECT 1")});
  EXPECT_EQ(ReasonOf(refused.status()), v1::OVERLOADED) << refused.status();
  EXPECT_TRUE(refused.status().GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  for (const Answer& answer : waiting) EXPECT_FALSE(answer.done());
  occupied.Release();
  EXPECT_TRUE(occupied.answer().Wait().ok());
  for (Answer& answer : waiting) EXPECT_TRUE(answer.Wait().ok());
}

TEST(QueryPool, ShuttingDownRefusesWhatWaitsAndFinishesWhatRuns) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  Occupied occupied(database, pool);
  Answer waiting;
  pool.Run({Text("SELECT 1")}, Soon(), waiting.Done());
  std::thread shutdown([&] { pool.Shutdown(); });
  EXPECT_EQ(ReasonOf(waiting.Wait().status()), v1::DRAINING) << waiting.Wait().status();
  EXPECT_FALSE(occupied.answer().done());
  occupied.Release();
  shutdown.join();
  EXPECT_TRUE(occupied.answer().Wait().ok());
  EXPECT_EQ(ReasonOf(Ask(pool, {Text("SELECT 1")}).status()), v1::DRAINING);
}

TEST(QueryPool, ManyCallersAreEachAnsweredOnce) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .waiting_max = 10'000});
  std::atomic<int> answered = 0;
  absl::Notification all;
  constexpr int kCalls = 2000;
  for (int i = 0; i < kCalls; ++i) {
    pool.Run({{"SELECT $1::text", {absl::StrCat(i)}}}, Soon(), [&, i](QueryPool::Results results) {
      const bool right = results.ok() && (*results)[0].Text(0, 0) == absl::StrCat(i);
      EXPECT_TRUE(right) << results.status();
      if (++answered == kCalls) all.Notify();
    });
  }
  EXPECT_TRUE(all.WaitForNotificationWithTimeout(absl::Seconds(60)));
}

// How many statements its one connection has prepared that begin like this.
int64_t Prepared(QueryPool& pool, const std::string& beginning) {
  const auto results = Ask(pool, {{"SELECT count(*) FROM pg_prepared_statements\n"
                                   "WHERE starts_with(statement, $1)",
                                   {beginning}}});
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? results->front().Int8(0, 0) : -1;
}

TEST(QueryPool, PreparesWhatItIsAskedAgainAndAgainOnce) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  for (const char* number : {"1", "20", "300"}) {
    const auto results = Ask(pool, {{"SELECT $1::bigint + 1", {number}}, Text("SELECT 'b'::text")});
    ASSERT_TRUE(results.ok()) << results.status();
    ASSERT_EQ(results->size(), 2u);
    EXPECT_EQ((*results)[0].Int8(0, 0), std::stoll(number) + 1);
    EXPECT_EQ((*results)[1].Text(0, 0), "b");
  }
  EXPECT_EQ(Prepared(pool, "SELECT $1::bigint + 1"), 1);
}

TEST(QueryPool, AnErrorLeavesNothingPreparedInDoubt) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  const std::vector<Sql> statements = {{"SELECT 1 / $1::bigint", {"0"}},
                                       Text("SELECT 'behind it'::text")};
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(Ask(pool, statements).ok());
    // It was skipped the first time, and so it may not have been prepared.
    const auto behind = Ask(pool, {statements[1]});
    ASSERT_TRUE(behind.ok()) << behind.status();
    EXPECT_EQ(behind->front().Text(0, 0), "behind it");
  }
  EXPECT_LE(Prepared(pool, "SELECT 1 /"), 1);
}

TEST(QueryPool, DoesNotKeepEveryTextThatEverCame) {
  TestDatabase database;
  QueryPool pool({.dsn = database.dsn(), .connections = 1});
  for (int i = 0; i < 300; ++i) {
    const auto results = Ask(pool, {Text(absl::StrCat("SELECT ", i, "::bigint"))});
    ASSERT_TRUE(results.ok()) << results.status();
    EXPECT_EQ(results->front().Int8(0, 0), i);
  }
  EXPECT_LE(Prepared(pool, "SELECT"), 128);
}

}  // namespace
}  // namespace sessiond::db
