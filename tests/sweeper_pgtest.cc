// The sweeper: what was left in CREATING is deleted once, however many sweep, and old request ids
// are forgotten.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/blocking.h"
#include "server/ops/sweeper.h"
#include "tests/store_fixture.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionEvent;

// Waits for what a sweep brings about.
bool Eventually(const std::function<bool()>& holds) {
  for (const absl::Time end = TestDeadline(); absl::Now() < end;) {
    if (holds()) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

// A sweeper with what it needs.
struct Sweeping {
  Metrics metrics{absl::Span<const std::string>()};
  rpc::Journal journal{metrics};
  Sweeper sweeper;

  Sweeping(SweeperOptions options, db::SessionStore& store)
      : sweeper(std::move(options), store, journal) {}
};

SweeperOptions Often(const TestDatabase& database) {
  return {.settings = {.dsn = database.dsn()},
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

}  // namespace
}  // namespace sessiond
