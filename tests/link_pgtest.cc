// Connections that fall silent, and hosts that hang: what was to be done is done within seconds,
// once, by another connection. And what a connection is asked about its server.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <signal.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "db/connection/link.h"
#include "db/connection/sql_error.h"
#include "db/postgres/migrate.h"
#include "db/submit_and_wait.h"
#include "tests/fault_proxy.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
// So long it takes to look up a name below .slow, all of which are this machine's.
constexpr absl::Duration kSlowName = absl::Seconds(6);
}  // namespace sessiond::db

// Instead of the C library's: names below .slow take their time, and those below .invalid are none,
// whatever a network's servers say.
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** list) {
  static const auto real =
      reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node != nullptr && absl::EndsWith(node, ".invalid")) return EAI_NONAME;
  const bool to_be_looked_up = hints == nullptr || (hints->ai_flags & AI_NUMERICHOST) == 0;
  if (node == nullptr || !absl::EndsWith(node, ".slow")) return real(node, service, hints, list);
  if (!to_be_looked_up) return EAI_NONAME;
  absl::SleepFor(sessiond::db::kSlowName);
  return real("127.0.0.1", service, hints, list);
}

namespace sessiond::db {
namespace {

// Some times what is promised of silence: a machine that has other things to do is slower. Nothing
// takes so long here but what hangs.
constexpr absl::Duration kBackWithin = absl::Seconds(10);

SteadyTime In(absl::Duration duration) { return SteadyTime::Now() + duration; }

// The path of the server's socket.
std::string SocketOf(const TestDatabase& database) {
  return database.Ask("SELECT split_part(current_setting('unix_socket_directories'), '\"', 2)") +
         "/.s.PGSQL.5432";
}

// The database, by other ways.
std::string Via(const TestDatabase& database, std::vector<const FaultProxy*> proxies) {
  std::string hosts, ports;
  for (const FaultProxy* proxy : proxies) {
    absl::StrAppend(&hosts, hosts.empty() ? "" : ",", "127.0.0.1");
    absl::StrAppend(&ports, ports.empty() ? "" : ",", proxy->port());
  }
  return absl::StrCat(database.dsn(), " host=", hosts, " port=", ports);
}

// A link that is connected. However slow the machine is, no second connection is given up.
std::unique_ptr<Link> Connected(const std::string& dsn, std::shared_ptr<Primary> primary,
                                bool writes = true) {
  auto link = std::make_unique<Link>(
      LinkOptions{.connection = {.dsn = dsn, .application_name = "test link"},
                  .primary = primary,
                  .writes = writes,
                  .connect_timeout = absl::Seconds(20),
                  .find_out_time = absl::Seconds(20)});
  const absl::Status connected = link->Connect(TestDeadline());
  EXPECT_TRUE(connected.ok()) << TroubleOf(connected);
  return link;
}

absl::Status Ask(Link& link, const std::string& sql = "SELECT 1") {
  link->QueueSql(sql);
  return link.RoundTrip(TestDeadline()).status();
}

absl::Status List(SessionStore& store, const std::string& sql = "SELECT count(*) FROM sessions") {
  absl::Status status;
  absl::Notification done;
  store.queries().Run({{sql, {}}}, TestDeadline(), [&](QueryPool::Results results) {
    status = results.status();
    done.Notify();
  });
  done.WaitForNotification();
  return status;
}

// A database behind a network that fails, and a store that has used all of its connections.
class SilenceTest : public testing::Test {
 protected:
  SilenceTest() {
    store_ = OpenStore(database_, [this](SessionStoreOptions& options) {
      options.settings.dsn = Via(database_, {&proxy_});
    });
    for (int i = 0; i < 8; ++i) ids_.push_back(NewSessionIn(*store_, "interview").session_id());
    for (const std::string& id : ids_) EXPECT_TRUE(ReadAndWait(*store_, id).ok());
    std::vector<std::thread> lists;
    for (int i = 0; i < 2; ++i)
      lists.emplace_back([this] { EXPECT_TRUE(List(*store_, "SELECT pg_sleep(0.05)").ok()); });
    for (std::thread& list : lists) list.join();
  }

  // Every kind of connection has an answer in time.
  void ExpectBack() {
    const SteadyTime begin = SteadyTime::Now();
    std::vector<Command> commands;
    for (const std::string& id : ids_)
      commands.push_back(WithRequestId(SetLabel(id, "label", "x"), absl::StrCat("request-", id)));
    std::vector<std::thread> callers;
    callers.emplace_back([&] {
      for (const auto& outcome : SubmitAllAndWait(*store_, commands))
        EXPECT_TRUE(outcome.ok()) << outcome.status();
      EXPECT_LT(SteadyTime::Now() - begin, kBackWithin) << "lanes";
    });
    callers.emplace_back([&] {
      const auto read = ReadAndWait(*store_, ids_[0]);
      EXPECT_TRUE(read.ok()) << read.status();
      EXPECT_LT(SteadyTime::Now() - begin, kBackWithin) << "reads";
    });
    // One after the other, by whichever connection is free.
    callers.emplace_back([&] {
      for (int i = 0; i < 4; ++i) {
        const absl::Status listed = List(*store_);
        EXPECT_TRUE(listed.ok()) << listed;
      }
      EXPECT_LT(SteadyTime::Now() - begin, kBackWithin) << "lists";
    });
    for (std::thread& caller : callers) caller.join();
    for (const auto& [request, events] : EventsByRequest(database_))
      EXPECT_EQ(events, 1) << request;
    ExpectSound(database_);
  }

  TestDatabase database_;
  FaultProxy proxy_{SocketOf(database_)};
  std::vector<std::string> ids_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(SilenceTest, OfAllConnectionsIsOverWithinSeconds) {
  proxy_.Silence();
  ExpectBack();
}

// Its client waits, and the kernel takes on what is sent to it.
TEST_F(SilenceTest, OfBackendsThatWereStoppedIsOverWithinSeconds) {
  const auto connection = database_.Connect();
  connection->QueueSql(
      "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND "
      "pid <> pg_backend_pid()");
  const auto backends = connection->RoundTrip(TestDeadline());
  ASSERT_TRUE(backends.ok());
  ASSERT_GE(backends->front().rows(), 4);
  std::vector<pid_t> pids;
  for (int row = 0; row < backends->front().rows(); ++row)
    pids.push_back(backends->front().Int4(row, 0));
  for (const pid_t pid : pids) kill(pid, SIGSTOP);
  ExpectBack();
  for (const pid_t pid : pids) kill(pid, SIGCONT);
}

// What takes long is no silence.
TEST_F(SilenceTest, OfAServerThatWorksIsWaitedFor) {
  const auto primary = std::make_shared<Primary>();
  const auto link = Connected(Via(database_, {&proxy_}), primary);
  EXPECT_TRUE(Ask(*link, "SELECT pg_sleep(1.5)").ok());
  EXPECT_EQ(link->openings(), 1);
  EXPECT_EQ(primary->silences(), 0);
  EXPECT_TRUE(Ask(*link).ok()) << "the second connection leaves nothing behind";
}

// Three seconds' worth, of which the server sees nothing before it has all.
TEST_F(SilenceTest, WhileMuchIsSentIsNone) {
  FaultProxy slow(SocketOf(database_));
  slow.Throttle(1 << 20);
  const auto primary = std::make_shared<Primary>();
  const auto link = Connected(Via(database_, {&slow}), primary);
  (*link)->QueueSql("SELECT length($1)::text", {{std::string(3 << 20, 'x')}});
  const auto sent = link->RoundTrip(TestDeadline());
  ASSERT_TRUE(sent.ok()) << TroubleOf(sent.status());
  EXPECT_EQ(sent->front().Text(0, 0), "3145728");
  EXPECT_EQ(primary->silences(), 0);
}

TEST_F(SilenceTest, OfAServerThatThenRefusesLeavesNoSecondConnection) {
  const auto link = Connected(Via(database_, {&proxy_}), std::make_shared<Primary>());
  const absl::Status refused =
      Ask(*link, "DO $$ BEGIN PERFORM pg_sleep(1.5); RAISE division_by_zero; END $$");
  EXPECT_EQ(SqlStateOf(refused), "22012") << refused;
  EXPECT_EQ(link->openings(), 1);
  const SteadyTime end = TestDeadline();
  while (database_.Ask("SELECT count(*)::text FROM pg_stat_activity "
                       "WHERE application_name = 'test link'") != "1")
    ASSERT_LT(SteadyTime::Now(), end);
}

TEST_F(SilenceTest, LeavesNobodyWaitingForLocks) {
  const auto link = Connected(Via(database_, {&proxy_}), std::make_shared<Primary>());
  ASSERT_TRUE((*link)->Execute("BEGIN; SELECT FROM partitions FOR UPDATE", TestDeadline()).ok());
  proxy_.Silence();
  const SteadyTime begin = SteadyTime::Now();
  EXPECT_TRUE(ConnectionIsGone(Ask(*link)));
  ASSERT_TRUE(link->Connect(TestDeadline()).ok());
  EXPECT_TRUE(Ask(*link, "SELECT FROM partitions FOR UPDATE").ok());
  EXPECT_LT(SteadyTime::Now() - begin, kBackWithin);
}

// Else every connection would cost its own second, one after the other. Some may all the same,
// where the machine has other things to do.
TEST_F(SilenceTest, ThatOneHasFoundIsFoundSoonerByTheOthers) {
  const auto primary = std::make_shared<Primary>();
  std::vector<std::unique_ptr<Link>> links;
  for (int i = 0; i < 6; ++i) links.push_back(Connected(Via(database_, {&proxy_}), primary));
  proxy_.Silence();
  int sooner = 0;
  for (const auto& link : links) {
    const SteadyTime begin = SteadyTime::Now();
    EXPECT_TRUE(ConnectionIsGone(Ask(*link)));
    if (SteadyTime::Now() - begin < absl::Seconds(1)) ++sooner;
    EXPECT_TRUE(link->Connect(TestDeadline()).ok());
    EXPECT_TRUE(Ask(*link).ok());
  }
  EXPECT_GE(sooner, 3) << "a second each";
}

// -------------------------------------------------------------------------------------------------
// hosts

class HostsTest : public testing::Test {
 protected:
  HostsTest() { hangs_.HangNew(true); }

  TestDatabase database_;
  FaultProxy hangs_{SocketOf(database_)};
  FaultProxy answers_{SocketOf(database_)};
};

TEST_F(HostsTest, OneThatHangsHidesNoOther) {
  for (const auto& hosts : {std::vector<const FaultProxy*>{&hangs_, &answers_},
                            std::vector<const FaultProxy*>{&answers_, &hangs_}}) {
    const SteadyTime begin = SteadyTime::Now();
    const auto connection = Connection::Open({.dsn = Via(database_, hosts)}, TestDeadline());
    EXPECT_TRUE(connection.ok()) << TroubleOf(connection.status());
    EXPECT_LT(SteadyTime::Now() - begin, kBackWithin);
  }
}

TEST_F(HostsTest, ANameThatIsLookedUpSlowlyHidesNoOther) {
  const std::string dsn =
      absl::StrCat(Via(database_, {&answers_, &answers_}), " host=one.slow,127.0.0.1");
  const SteadyTime begin = SteadyTime::Now();
  const auto connection = Connection::Open({.dsn = dsn}, TestDeadline());
  EXPECT_TRUE(connection.ok()) << TroubleOf(connection.status());
  // Whoever waits for the name waits for five seconds, or until it is known.
  EXPECT_LT(SteadyTime::Now() - begin, absl::Seconds(4));
}

TEST_F(HostsTest, ANameThatIsLookedUpSlowlyIsFoundInTheEndAndKnownFromThenOn) {
  const std::string dsn = absl::StrCat(Via(database_, {&answers_}), " host=two.slow");
  const auto open = [&] { return Connection::Open({.dsn = dsn}, In(kSlowName / 2)).status(); };
  absl::Status opened = open();
  EXPECT_TRUE(absl::StrContains(TroubleOf(opened), "the address of two.slow is not known"))
      << TroubleOf(opened);
  EXPECT_NE(SqlStateOf(opened), "08001") << "nobody has failed to answer";
  const SteadyTime end = TestDeadline();
  while (!opened.ok() && SteadyTime::Now() < end) opened = open();
  EXPECT_TRUE(opened.ok()) << TroubleOf(opened);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(open().ok());
}

TEST_F(HostsTest, ANameThatThereIsNotIsSaid) {
  const std::string dsn = absl::StrCat(Via(database_, {&answers_}), " host=there.is.none.invalid");
  const std::string why = TroubleOf(Connection::Open({.dsn = dsn}, In(absl::Seconds(10))).status());
  EXPECT_TRUE(absl::StrContains(why,
                                "the address of there.is.none.invalid is not known: "
                                "Name or service not known"))
      << why;
}

TEST_F(HostsTest, OneThatHangsHoldsUpNeitherMigrationsNorAStore) {
  const std::string dsn = Via(database_, {&hangs_, &answers_});
  const absl::Status migrated = Migrate(dsn, {.timeout = absl::Seconds(10)});
  EXPECT_TRUE(migrated.ok()) << migrated;
  const auto store =
      OpenStore(database_, [&](SessionStoreOptions& options) { options.settings.dsn = dsn; });
  const std::string id = NewSessionIn(*store, "interview").session_id();
  EXPECT_TRUE(ReadAndWait(*store, id).ok());
}

TEST_F(HostsTest, WhyEachWasNotReachedIsSaid) {
  const std::string dsn = absl::StrCat(Via(database_, {&hangs_}), " host=127.0.0.1,/nonexistent",
                                       " port=", hangs_.port(), ",5432");
  const auto connection = Connection::Open({.dsn = dsn}, In(absl::Seconds(5)));
  const std::string why = TroubleOf(connection.status());
  EXPECT_TRUE(absl::StrContains(why, absl::StrCat("127.0.0.1:", hangs_.port(), ": timed out")))
      << why;
  EXPECT_TRUE(absl::StrContains(why, "/nonexistent:5432: ")) << why;
}

// As is one whose processor is busy, above all with all who connect to it again at the same time.
TEST_F(HostsTest, OneThatIsSlowIsReachedInTheEnd) {
  answers_.Delay(absl::Milliseconds(300));
  Link link({.connection = {.dsn = Via(database_, {&answers_})},
             .primary = std::make_shared<Primary>(),
             .connect_timeout = absl::Milliseconds(600)});
  EXPECT_FALSE(link.Connect().ok());
  const SteadyTime give_up = TestDeadline();
  while (!link.Connect().ok()) ASSERT_LT(SteadyTime::Now(), give_up);
}

TEST_F(HostsTest, ConnectTimeoutIsHonoured) {
  const SteadyTime begin = SteadyTime::Now();
  const auto connection =
      Connection::Open({.dsn = Via(database_, {&hangs_}) + " connect_timeout=1"}, TestDeadline());
  EXPECT_TRUE(absl::IsUnavailable(connection.status())) << connection.status();
  EXPECT_LT(SteadyTime::Now() - begin, kBackWithin);
}

// -------------------------------------------------------------------------------------------------
// what a connection is asked

TEST(Link, AsksAgainWhenAnotherOneTurnedOutToLeadElsewhere) {
  TestDatabase database;
  const auto primary = std::make_shared<Primary>();
  const auto link = Connected(database.dsn(), primary);
  ASSERT_TRUE((*link)->Execute("SET default_transaction_read_only = on", TestDeadline()).ok());
  EXPECT_TRUE(Ask(*link).ok()) << "it was asked a moment ago";
  primary->Doubt();
  const absl::Status refused = Ask(*link);
  EXPECT_EQ(SqlStateOf(refused), "25006") << refused;
  EXPECT_EQ(TroubleOf(refused), "it is read-only");
  EXPECT_FALSE(link->connected());
  EXPECT_TRUE(link->Connect(TestDeadline()).ok());
  EXPECT_TRUE(Ask(*link).ok());
}

TEST(Link, AsksOnceInASecondOfUse) {
  TestDatabase database;
  const SteadyTime begin = SteadyTime::Now();
  const auto link = Connected(database.dsn(), std::make_shared<Primary>());
  ASSERT_TRUE((*link)->Execute("SET default_transaction_read_only = on", TestDeadline()).ok());
  while (Ask(*link).ok()) ASSERT_LT(SteadyTime::Now() - begin, kBackWithin);
  EXPECT_GE(SteadyTime::Now() - begin, absl::Seconds(1));
}

TEST(Link, WhoOnlyReadsMayDoSoWhereNothingCanBeWritten) {
  TestDatabase database;
  const auto primary = std::make_shared<Primary>();
  const auto link = Connected(database.dsn(), primary, /*writes=*/false);
  ASSERT_TRUE((*link)->Execute("SET default_transaction_read_only = on", TestDeadline()).ok());
  primary->Doubt();
  EXPECT_TRUE(Ask(*link).ok());
}

TEST(Link, AsksLessWhereItsRoleMayNotAskMore) {
  TestDatabase database;
  const std::string role = "asks_less";
  const auto admin = database.Connect();
  ASSERT_TRUE(admin
                  ->Execute(absl::StrCat("CREATE ROLE ", role,
                                         " LOGIN; REVOKE EXECUTE ON FUNCTION "
                                         "pg_control_system() FROM PUBLIC; GRANT SELECT ON "
                                         "partitions TO ",
                                         role),
                            TestDeadline())
                  .ok());
  const auto primary = std::make_shared<Primary>();
  const auto link = Connected(absl::StrCat(database.dsn(), " user=", role), primary);
  EXPECT_TRUE(Ask(*link).ok());
  EXPECT_EQ(primary->timeline(), 0);
  EXPECT_FALSE(primary->seen().positions.empty());
  ASSERT_TRUE(
      admin->Execute(absl::StrCat("DROP OWNED BY ", role, "; DROP ROLE ", role), TestDeadline())
          .ok());
}

// What many links know is one: this is for ThreadSanitizer, too.
TEST(Link, ManyShareWhatTheySee) {
  TestDatabase database;
  const auto primary = std::make_shared<Primary>();
  std::vector<std::thread> users;
  for (int i = 0; i < 8; ++i) {
    users.emplace_back([&, i] {
      const auto link = Connected(database.dsn(), primary);
      for (int round = 0; round < 20; ++round) {
        if (round % 5 == i % 5) primary->Doubt();
        primary->Acknowledged({{static_cast<int16_t>(i), 0}});
        EXPECT_TRUE(link->Connect(TestDeadline()).ok());
        EXPECT_TRUE(Ask(*link).ok());
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(primary->timeline(), 1);
  EXPECT_TRUE(primary->refusal().ok());
}

}  // namespace
}  // namespace sessiond::db
