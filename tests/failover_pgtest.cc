// Failovers: two servers, of which the one is promoted while the other is down, or has come back,
// or never knew. Whatever happens, everybody speaks to the primary of today, what was acknowledged
// is there, and nothing is there twice.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "db/connection/dial.h"
#include "db/connection/link.h"
#include "db/connection/sql_error.h"
#include "db/rows/workflow_rows.h"
#include "server/sweeper.h"
#include "server/watch/hub_feeder.h"
#include "tests/replicated_postgres.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

std::unique_ptr<SessionStore> StoreOn(const std::string& dsn) {
  return OpenStore(TestDatabase(dsn));
}

bool Eventually(const std::function<bool()>& holds) {
  for (const SteadyTime end = TestDeadline(); SteadyTime::Now() < end;) {
    if (holds()) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

// As a caller does who is told UNAVAILABLE: again, with the same request id.
void ChangeUntilDone(SessionStore& store, const std::string& id, const std::string& request_id) {
  EXPECT_TRUE(Eventually([&] {
    const auto outcome =
        SubmitAndWait(store, WithRequestId(SetLabel(id, "label", request_id), request_id));
    EXPECT_TRUE(outcome.ok() || absl::IsUnavailable(outcome.status())) << outcome.status();
    return outcome.ok();
  }));
}

std::string CountSessions(SessionStore& store) {
  const auto counted =
      Wait(store.CountSessions({.namespace_name = "-", .include_deleted = true},
                               v1::CountSessionsRequest::GROUP_BY_UNSPECIFIED, TestDeadline()));
  return counted.ok() ? absl::StrCat(counted->total()) : std::string(counted.status().message());
}

std::string EventsOn(const ReplicatedPostgres& servers, Server server) {
  return servers.At(server).Ask("SELECT count(*)::text FROM session_events");
}

// A daemon's parts that speak to the database.
struct Parts {
  explicit Parts(const std::string& dsn)
      : store(OpenStore(TestDatabase(dsn),
                        [this](SessionStoreOptions& options) { options.listener = &listener; })),
        feed(std::make_unique<watch::HubFeeder>(
            watch::HubFeederOptions{.dsn = dsn,
                                    .hub = {.partition_count = store->partition_count()}},
            *store, listener)),
        sweeper(std::make_unique<Sweeper>(
            SweeperOptions{.dsn = dsn, .heartbeat_period = absl::Milliseconds(20)}, *store,
            journal)) {}
  ~Parts() {
    sweeper.reset();
    store->Drain();
    feed.reset();
  }

  // Whether a watch of everything is told of the session, from where things stand on a server now.
  bool Hears(const std::string& session_id) {
    v1::WatchSessionsRequest request;
    request.set_filter("workflow = \"interview\"");
    watch::Hub& hub = feed->hub();
    const auto from = watch::Positions(static_cast<std::size_t>(store->partition_count()));
    const auto subscription =
        hub.Subscribe(watch::Interest::Of(request, {}, store->partition_count()).value(), from,
                      from, SteadyTime::Now(), absl::Hours(1), [] {});
    const bool heard = Eventually([&] {
      const watch::Taken taken = hub.Take(*subscription);
      return std::any_of(taken.deliveries.begin(), taken.deliveries.end(), [&](const auto& one) {
        return one.change->event.session_id() == session_id;
      });
    });
    hub.Unsubscribe(subscription);
    return heard;
  }

  Metrics metrics{absl::Span<const std::string>()};
  Journal journal{metrics};
  CommittedListener listener;
  std::unique_ptr<SessionStore> store;
  std::unique_ptr<watch::HubFeeder> feed;
  std::unique_ptr<Sweeper> sweeper;
};

std::string ConnectionsTo(const ReplicatedPostgres& servers, Server server,
                          const std::string& name) {
  return servers.At(server).Ask(absl::StrCat(
      "SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE '", name, "'"));
}

// The old primary runs on, and knows of nothing: only that the lanes were cut off from it brings
// the daemon to the new one, and all others with them.
TEST(Failover, ConnectionsThatAreOpenLeaveAPrimaryThatIsNoneAnyMore) {
  ReplicatedPostgres servers;
  Parts parts(servers.dsn_of_both());
  SessionStore* const store = parts.store.get();
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(ReadAndWait(*store, id).ok());
  ASSERT_TRUE(ReadAllAndWait(*store, {id, id}).ok());
  ASSERT_EQ(CountSessions(*store), "1");
  ASSERT_TRUE(parts.Hears(id));
  servers.AwaitCaughtUp(kFirst, kSecond);
  servers.Promote(kSecond);

  servers.At(kFirst).Ask(
      "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity "
      "WHERE application_name = 'sessiond lane'");
  const std::string old_events = EventsOn(servers, kFirst);
  const std::string new_id = NewSessionIn(*store, "interview").session_id();
  for (int i = 0; i < 5; ++i) {
    const auto read = ReadAndWait(*store, new_id);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_TRUE(read->session.has_value()) << "what was acknowledged a moment ago";
    const auto both = ReadAllAndWait(*store, {id, new_id});
    ASSERT_TRUE(both.ok()) << both.status();
    ASSERT_TRUE(both->back().session.has_value());
    EXPECT_EQ(CountSessions(*store), "2");
  }
  ChangeUntilDone(*store, id, "later");
  EXPECT_EQ(EventsOn(servers, kFirst), old_events) << "written to the old primary";
  // Of another daemon, and so read.
  const auto other = StoreOn(servers.dsn_of_both());
  EXPECT_TRUE(parts.Hears(NewSessionIn(*other, "interview").session_id()));
  for (const char* name : {"sessiond lane", "sessiond reads", "sessiond sweeper"}) {
    EXPECT_TRUE(Eventually([&] { return ConnectionsTo(servers, kFirst, name) == "0"; })) << name;
    EXPECT_TRUE(Eventually([&] { return ConnectionsTo(servers, kSecond, name) != "0"; })) << name;
  }
  ExpectSound(servers.At(kSecond));
}

// Nothing is lost or cut off: as the daemon does every few seconds.
TEST(Failover, WhoLooksAroundBringsAllToThePrimaryThatWasPromotedWhileTheOldOneRunsOn) {
  ReplicatedPostgres servers;
  const auto store = StoreOn(servers.dsn_of_both());
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(ReadAndWait(*store, id).ok());
  Link probe({.connection = {.dsn = servers.dsn_of_both()}, .primary = store->primary()});
  ASSERT_TRUE(probe.Connect().ok());
  servers.AwaitCaughtUp(kFirst, kSecond);
  servers.Promote(kSecond);
  probe.Close();
  ASSERT_TRUE(probe.Connect().ok());
  EXPECT_EQ(store->primary()->timeline(), 2);

  const std::string old_events = EventsOn(servers, kFirst);
  ChangeUntilDone(*store, id, "after the failover");
  EXPECT_EQ(EventsOn(servers, kFirst), old_events) << "written to the old primary";
  const auto read = ReadAndWait(*store, id);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->session->labels().at("label"), "after the failover");
}

TEST(Failover, TheOldPrimaryIsNotTakenThoughItComesBackFirst) {
  ReplicatedPostgres servers;
  const auto store = StoreOn(servers.dsn_of_both());
  const std::string id = NewSessionIn(*store, "interview").session_id();
  servers.AwaitCaughtUp(kFirst, kSecond);
  servers.Stop(kFirst);
  servers.Promote(kSecond);
  ChangeUntilDone(*store, id, "after the failover");

  servers.Stop(kSecond);
  servers.Start(kFirst);
  const std::string old_events = EventsOn(servers, kFirst);
  EXPECT_TRUE(Eventually([&] {
    EXPECT_FALSE(ReadAndWait(*store, id).ok());
    return !store->primary()->refusal().ok();
  }));
  const auto outcome = SubmitAndWait(*store, SetLabel(id, "label", "lost"));
  EXPECT_EQ(ReasonOf(outcome.status()), v1::DATABASE_UNAVAILABLE) << outcome.status();
  EXPECT_TRUE(absl::IsUnavailable(ReadAndWait(*store, id).status()));
  EXPECT_TRUE(absl::StrContains(CountSessions(*store), "cannot be reached"));
  EXPECT_TRUE(absl::StrContains(store->primary()->refusal().message(), "restart the daemon"))
      << store->primary()->refusal();
  EXPECT_EQ(EventsOn(servers, kFirst), old_events) << "written to the old primary";

  servers.Start(kSecond);
  ChangeUntilDone(*store, id, "when it is back");
  EXPECT_TRUE(store->primary()->refusal().ok());
  EXPECT_EQ(EventsOn(servers, kFirst), old_events);
  ExpectSound(servers.At(kSecond));
}

// Nothing was seen yet: of those that are there, the newest.
TEST(Failover, TheNewestPrimaryIsTakenWhicheverStandsFirst) {
  ReplicatedPostgres servers;
  servers.Promote(kSecond);
  const std::string old_events = EventsOn(servers, kFirst);
  const auto store = StoreOn(servers.dsn_of_both());
  NewSessionIn(*store, "interview");
  EXPECT_EQ(store->primary()->timeline(), 2);
  EXPECT_EQ(EventsOn(servers, kFirst), old_events);
  EXPECT_EQ(EventsOn(servers, kSecond), "1");
}

TEST(Failover, AStandbyIsOneAlsoToARoleThatMayAskItLess) {
  ReplicatedPostgres servers;
  const absl::Status made = servers.At(kFirst).Connect()->Execute(
      "CREATE ROLE asks_less LOGIN; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
      TestDeadline());
  ASSERT_TRUE(made.ok()) << made;
  servers.AwaitCaughtUp(kFirst, kSecond);
  const TestDatabase standby_first(
      absl::StrCat(servers.dsn_of(kSecond, kFirst), " user=asks_less"));
  EXPECT_EQ(standby_first.Ask("SELECT pg_is_in_recovery()::text"), "false");
}

TEST(Failover, AServiceThatNamesSeveralHostsLeadsToThePrimaryToo) {
  ReplicatedPostgres servers;
  const std::string file = absl::StrCat(testing::TempDir(), "several_hosts.", getpid());
  std::ofstream(file) << "[several]\n"
                      << absl::StrReplaceAll(servers.dsn_of(kSecond, kFirst), {{" ", "\n"}})
                      << "\n";
  setenv("PGSERVICEFILE", file.c_str(), 1);
  EXPECT_TRUE(NamesSeveralHosts("service=several"));
  EXPECT_EQ(TestDatabase("service=several").Ask("SELECT pg_is_in_recovery()::text"), "false");
  const auto unknown = Connection::Open({.dsn = "service=unknown"}, TestDeadline());
  EXPECT_TRUE(absl::StrContains(TroubleOf(unknown.status()), "\"unknown\" not found"))
      << TroubleOf(unknown.status());
  unsetenv("PGSERVICEFILE");
}

// The standby was behind, and somebody promoted it all the same.
TEST(Failover, APrimaryThatLacksWhatWasAcknowledgedIsRefusedUntilADaemonStartsAnew) {
  ReplicatedPostgres servers;
  auto store = StoreOn(servers.dsn_of_both());
  const std::string id = NewSessionIn(*store, "interview").session_id();
  servers.AwaitCaughtUp(kFirst, kSecond);
  servers.StopFollowing(kSecond);
  ASSERT_TRUE(SubmitAndWait(*store, SetLabel(id, "label", "lost")).ok());
  servers.Stop(kFirst);
  servers.Promote(kSecond);
  EXPECT_TRUE(absl::IsUnavailable(SubmitAndWait(*store, SetLabel(id, "label", "x")).status()));
  EXPECT_TRUE(absl::IsUnavailable(ReadAndWait(*store, id).status()));
  EXPECT_TRUE(absl::StrContains(store->primary()->refusal().message(), "changes that were seen"))
      << store->primary()->refusal();
  EXPECT_EQ(EventsOn(servers, kSecond), "1");

  store.reset();
  store = StoreOn(servers.dsn_of_both());
  EXPECT_TRUE(SubmitAndWait(*store, SetLabel(id, "label", "x")).ok());
  ExpectSound(servers.At(kSecond));
}

TEST(Failover, AStandbyIsNoDatabaseToReadFrom) {
  ReplicatedPostgres servers;
  auto store = OpenStore(servers.At(kFirst));
  servers.AwaitCaughtUp(kFirst, kSecond);
  // All there is, is a standby.
  QueryPool pool({.dsn = servers.dsn(kSecond), .connections = 1});
  absl::Notification done;
  absl::Status status;
  pool.Run({{"SELECT 1", {}}}, TestDeadline(), [&](QueryPool::Results results) {
    status = results.status();
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_EQ(ReasonOf(status), v1::DATABASE_UNAVAILABLE) << status;
}

// -------------------------------------------------------------------------------------------------
// commits that wait for a standby

class SynchronousTest : public testing::Test {
 protected:
  SynchronousTest() : store_(StoreOn(servers_.dsn_of_both())) {
    id_ = NewSessionIn(*store_, "interview").session_id();
    servers_.AwaitCaughtUp(kFirst, kSecond);
    const auto connection = servers_.At(kFirst).Connect();
    EXPECT_TRUE(
        connection->Execute("ALTER SYSTEM SET synchronous_standby_names = 'second'", TestDeadline())
            .ok());
    EXPECT_TRUE(connection->Execute("SELECT pg_reload_conf()", TestDeadline()).ok());
    EXPECT_TRUE(Eventually([&] {
      return servers_.At(kFirst).Ask("SELECT sync_state FROM pg_stat_replication") == "sync";
    }));
    servers_.Stop(kSecond);
  }

  // Has every commit that waits for the standby give up waiting, until somebody says that it is
  // enough.
  class Impatience {
   public:
    explicit Impatience(const TestDatabase& database)
        : thread_([this, &database] {
            const auto connection = database.Connect();
            while (!over_.HasBeenNotified()) {
              connection->QueueSql(
                  "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = "
                  "'SyncRep'");
              const auto cancelled = connection->RoundTrip(TestDeadline());
              EXPECT_TRUE(cancelled.ok());
              if (cancelled.ok()) cancelled_ += cancelled->front().rows();
              absl::SleepFor(absl::Milliseconds(10));
            }
          }) {}
    ~Impatience() {
      over_.Notify();
      thread_.join();
      EXPECT_GT(cancelled_, 0);
    }

   private:
    absl::Notification over_;
    int cancelled_ = 0;
    std::thread thread_;
  };

  ReplicatedPostgres servers_;
  std::unique_ptr<SessionStore> store_;
  std::string id_;
};

TEST_F(SynchronousTest, WhatIsNotReplicatedIsNotAcknowledgedHoweverOftenItIsAsked) {
  const auto change = [this] {
    return SubmitAndWait(*store_, WithRequestId(SetLabel(id_, "label", "x"), "request"));
  };
  const TestDatabase first = servers_.At(kFirst);
  {
    const Impatience impatience(first);
    const auto outcome = change();
    EXPECT_EQ(ReasonOf(outcome.status()), v1::DATABASE_UNAVAILABLE) << outcome.status();
    // The same again, and what has no effect any more, and is just as little replicated.
    Pending again(*store_, WithRequestId(SetLabel(id_, "label", "x"), "request"));
    Pending same(*store_, SetLabel(id_, "label", "x"));
    EXPECT_TRUE(absl::IsUnavailable(again.Wait().status())) << again.outcome.status();
    EXPECT_TRUE(absl::IsUnavailable(same.Wait().status())) << same.outcome.status();
  }
  servers_.Start(kSecond);
  EXPECT_TRUE(Eventually([&] { return change().ok(); }));
  EXPECT_EQ(EventsByRequest(first)["request"], 1);
  ExpectSound(first);
}

TEST_F(SynchronousTest, AWorkflowThatIsNotReplicatedIsNotAcknowledged) {
  const TestDatabase first = servers_.At(kFirst);
  const auto store_workflow = [this] {
    const SteadyTime deadline = SteadyTime::Now() + absl::Seconds(5);
    return Wait(store_->CreateWorkflow(ShortLivedDefinition(), deadline)).status();
  };
  {
    const Impatience impatience(first);
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(ReasonOf(store_workflow()), v1::DATABASE_UNAVAILABLE) << "attempt " << i;
  }
  servers_.Start(kSecond);
  EXPECT_TRUE(Eventually([&] { return store_workflow().ok(); }));
  EXPECT_EQ(first.Ask("SELECT count(*)::text FROM workflows WHERE name = 'short_lived'"), "1");
}

}  // namespace
}  // namespace sessiond::db
