#include "tests/store_fixture.h"

#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/str_cat.h"
#include "db/blocking.h"
#include "db/event_rows.h"
#include "db/session_rows.h"
#include "server/state_machine/session_id.h"

namespace sessiond::db {
namespace {

using google::protobuf::util::MessageDifferencer;

Result Ask(const TestDatabase& database, const std::string& sql) {
  auto connection = database.Connect();
  connection->QueueSql(sql);
  auto results = connection->Trip(TestDeadline());
  EXPECT_TRUE(results.ok()) << results.status() << "\n" << sql;
  if (!results.ok()) std::abort();
  return std::move(results->front());
}

}  // namespace

std::unique_ptr<SessionStore> OpenStore(const TestDatabase& database,
                                        const std::function<void(SessionStoreOptions&)>& change) {
  SessionStoreOptions options{.settings = {.dsn = database.dsn()}};
  for (const char* name : {"ticket_export", "execution", "interview"})
    options.workflows.push_back(BuiltinDefinition(name));
  change(options);
  auto store = SessionStore::Open(std::move(options), TestDeadline());
  EXPECT_TRUE(store.ok()) << store.status();
  if (!store.ok()) std::abort();
  return *std::move(store);
}

v1::Session NewSessionIn(SessionStore& store, const std::string& workflow,
                         const v1::CreateSessionRequest* request) {
  const auto outcome =
      SubmitAndWait(store, Create(store.catalog().Newest(workflow),
                                  request == nullptr ? NewSession(workflow) : *request));
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? outcome->session : v1::Session();
}

Pending::Pending(SessionStore& store, Command change, absl::Time until) {
  command = std::move(change);
  deadline = until;
  if (const absl::Status taken = store.Submit(this); !taken.ok()) {
    outcome = taken;
    Done();
  }
}

const absl::StatusOr<Outcome>& Pending::Wait() {
  EXPECT_TRUE(done_.WaitForNotificationWithTimeout(absl::Seconds(60))) << "nobody answered";
  return outcome;
}

Stall::Stall(const TestDatabase& database, SessionStore& store) : connection_(database.Connect()) {
  const v1::Session decoy = NewSessionIn(store, "execution");
  const int partition = PartitionOf(decoy.session_id(), store.partition_count());
  const absl::Status locked = connection_->Execute(
      absl::StrCat("BEGIN; SELECT FROM partitions WHERE partition = ", partition, " FOR UPDATE"),
      TestDeadline());
  EXPECT_TRUE(locked.ok()) << locked;
  waiting_ = std::make_unique<Pending>(store, SetLabel(decoy.session_id(), "decoy", "x"));
  while (store.waiting() > 0) absl::SleepFor(absl::Milliseconds(1));
}

void Stall::Release() {
  if (connection_ == nullptr) return;
  const absl::Status released = connection_->Execute("ROLLBACK", TestDeadline());
  EXPECT_TRUE(released.ok()) << released;
  EXPECT_TRUE(waiting_->Wait().ok()) << waiting_->outcome.status();
  connection_.reset();
}

std::map<std::string, v1::Session> AllSessions(const TestDatabase& database) {
  const Result rows = Ask(
      database, absl::StrCat("SELECT ", kSessionColumns, " FROM sessions s ", kCurrentTaskJoin));
  std::map<std::string, v1::Session> sessions;
  for (int row = 0; row < rows.rows(); ++row) {
    v1::Session session;
    ReadSession(rows, row, 0, &session);
    sessions[session.session_id()] = session;
  }
  return sessions;
}

std::map<std::string, std::vector<v1::SessionEvent>> AllEvents(const TestDatabase& database) {
  const Result rows = Ask(database, absl::StrCat("SELECT ", std::string(kEventColumns),
                                                 " FROM session_events e ORDER BY partition, "
                                                 "position"));
  std::map<std::string, std::vector<v1::SessionEvent>> events;
  for (int row = 0; row < rows.rows(); ++row) {
    v1::SessionEvent event;
    ReadEvent(rows, row, 0, &event);
    events[event.session_id()].push_back(event);
  }
  return events;
}

std::map<std::string, int> EventsByRequest(const TestDatabase& database) {
  std::map<std::string, int> count;
  for (const auto& [id, events] : AllEvents(database)) {
    for (const v1::SessionEvent& event : events) ++count[event.request_id()];
  }
  return count;
}

void ExpectSound(const TestDatabase& database) {
  EXPECT_EQ(database.Ask(R"sql(
      SELECT string_agg(format('partition %s: position %s, %s events from %s to %s', p.partition,
                               p.position, e.count, e.first, e.last), E'\n')
      FROM partitions p
      LEFT JOIN (SELECT partition, count(*), min(position) AS first, max(position) AS last
                 FROM session_events GROUP BY partition) e USING (partition)
      WHERE p.position <> coalesce(e.count, 0)
         OR p.position <> coalesce(e.last, 0)
         OR coalesce(e.first, 1) <> 1)sql"),
            "")
      << "positions are not dense";
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM session_requests"),
            database.Ask("SELECT count(*)::text FROM "
                         "(SELECT DISTINCT session_id, caller, request_id FROM session_events) e"))
      << "requests and their effects";
  const auto sessions = AllSessions(database);
  const auto events = AllEvents(database);
  EXPECT_EQ(sessions.size(), events.size());
  for (const auto& [id, session] : sessions) {
    ASSERT_TRUE(events.contains(id)) << id;
    const auto replayed = Replay(events.at(id));
    ASSERT_TRUE(replayed.ok()) << replayed.status();
    std::string difference;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differencer.Compare(*replayed, session)) << id << "\n" << difference;
  }
}

}  // namespace sessiond::db
