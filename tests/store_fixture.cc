#include "tests/store_fixture.h"

#include <google/protobuf/util/message_differencer.h>

#include "absl/strings/str_cat.h"
#include "db/rows/resource_rows.h"
#include "state_machine/evolve.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

using google::protobuf::util::MessageDifferencer;

Result Ask(const TestDatabase& database, const std::string& sql) {
  auto connection = database.Connect();
  connection->QueueSql(sql);
  auto results = connection->RoundTrip(TestDeadline());
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

absl::StatusOr<Outcome> SubmitAndWait(SessionStore& store, Command command) {
  return Pending(store, std::move(command)).Wait();
}

absl::StatusOr<std::vector<Aggregate>> ReadAllAndWait(SessionStore& store,
                                                      std::vector<std::string> session_ids) {
  const auto found = Wait(store.LookupSessions(std::move(session_ids), {}));
  if (!found.ok()) return found.status();
  std::vector<Aggregate> aggregates;
  for (const FoundSession& each : *found) aggregates.push_back(each.ToAggregate());
  return aggregates;
}

absl::StatusOr<Aggregate> ReadAndWait(SessionStore& store, const std::string& session_id) {
  auto aggregates = ReadAllAndWait(store, {session_id});
  if (!aggregates.ok()) return aggregates.status();
  return std::move(aggregates->front());
}

v1::Session NewSessionIn(SessionStore& store, const std::string& workflow,
                         const v1::CreateSessionRequest* request) {
  const auto outcome =
      SubmitAndWait(store, Create(store.catalog().Newest(workflow),
                                  request == nullptr ? NewSession(workflow) : *request));
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? outcome->session : v1::Session();
}

Pending::Pending(SessionStore& store, Command change, Deadline until) {
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

ByHand::ByHand(const TestDatabase& database, const std::string& sql)
    : connection_(database.Connect()) {
  const absl::Status locked = connection_->Execute("BEGIN; " + sql, TestDeadline());
  EXPECT_TRUE(locked.ok()) << locked;
}

void ByHand::Release() {
  if (connection_ == nullptr) return;
  const absl::Status released = connection_->Execute("ROLLBACK", TestDeadline());
  EXPECT_TRUE(released.ok()) << released;
  connection_.reset();
}

std::string LockPartition(int partition) {
  return absl::StrCat("SELECT FROM partitions WHERE partition = ", partition, " FOR UPDATE");
}

Stall::Stall(const TestDatabase& database, SessionStore& store) {
  const v1::Session decoy = NewSessionIn(store, "execution");
  const int partition = PartitionOf(decoy.session_id(), store.partition_count());
  lock_ = std::make_unique<ByHand>(database, LockPartition(partition));
  waiting_ = std::make_unique<Pending>(store, SetLabel(decoy.session_id(), "decoy", "x"));
  while (store.waiting() > 0) absl::SleepFor(absl::Milliseconds(1));
}

void Stall::Release() {
  lock_->Release();
  EXPECT_TRUE(waiting_->Wait().ok()) << waiting_->outcome.status();
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

namespace {

// Positions without an event are those of sessions that ended, and none lies beyond what
// purged_position says.
void ExpectDensePositions(const TestDatabase& database) {
  EXPECT_EQ(database.Ask(R"sql(
      SELECT string_agg(format('partition %s: position %s, purged to %s; event %s, gap %s',
                               p.partition, p.position, p.purged_position, e.last, g.last), E'\n')
      FROM partitions p
      LEFT JOIN (SELECT partition, max(position) AS last
                 FROM session_events GROUP BY partition) e USING (partition)
      LEFT JOIN (SELECT q.partition, max(n) AS last
                 FROM partitions q, generate_series(1, q.position) n
                 WHERE NOT EXISTS (SELECT FROM session_events x
                                   WHERE x.partition = q.partition AND x.position = n)
                 GROUP BY q.partition) g USING (partition)
      WHERE p.position <> coalesce(e.last, 0)
         OR p.purged_position <> coalesce(g.last, 0))sql"),
            "")
      << "positions are not dense";
}

// What lies below a session has its session, and is counted by it.
void ExpectNoOrphans(const TestDatabase& database) {
  for (const char* table :
       {"session_tasks", "session_errors", "session_messages", "session_artifacts"}) {
    EXPECT_EQ(
        database.Ask(absl::StrCat("SELECT count(*)::text FROM ", table,
                                  " b WHERE NOT EXISTS (SELECT FROM sessions s "
                                  "WHERE s.partition = b.partition AND s.id = b.session_id)")),
        "0")
        << "orphans in " << table;
  }
  EXPECT_EQ(database.Ask(R"sql(
      SELECT string_agg(s.id, ' ')
      FROM sessions s
      WHERE s.blocking_errors <> (SELECT count(*) FROM session_errors x
                                  WHERE x.partition = s.partition AND x.session_id = s.id
                                    AND x.severity = 1 AND x.resolved_at IS NULL)
         OR s.message_count <> (SELECT count(*) FROM session_messages m
                                WHERE m.partition = s.partition AND m.session_id = s.id)
         OR s.message_count <> (SELECT coalesce(max(sequence), 0) FROM session_messages m
                                WHERE m.partition = s.partition AND m.session_id = s.id))sql"),
            "")
      << "counts of blocking errors or messages";
  EXPECT_EQ(database.Ask(R"sql(
      SELECT string_agg(x.session_id || ' ' || x.error_id, ', ')
      FROM session_errors x
      WHERE (x.related_file_id <> '' AND NOT EXISTS (
               SELECT FROM session_artifacts a
               WHERE a.partition = x.partition AND a.session_id = x.session_id
                 AND a.artifact_id = x.related_file_id AND a.kind = 1))
         OR (x.related_ticket_id <> '' AND NOT EXISTS (
               SELECT FROM session_artifacts a
               WHERE a.partition = x.partition AND a.session_id = x.session_id
                 AND a.artifact_id = x.related_ticket_id AND a.kind = 2)))sql"),
            "")
      << "links to artifacts that are not there";
}

// Of a session that ended: a tombstone, the last event, and nothing else.
void ExpectEndsAreWhole(const TestDatabase& database,
                        const std::map<std::string, v1::Session>& sessions,
                        const std::map<std::string, std::vector<v1::SessionEvent>>& events) {
  std::size_t ended = 0;
  for (const auto& [id, left] : events) {
    if (sessions.contains(id)) continue;
    ++ended;
    EXPECT_EQ(left.size(), 1u) << id;
    EXPECT_TRUE(left[0].type() == v1::SessionEvent::ARCHIVED ||
                left[0].type() == v1::SessionEvent::ERASED)
        << id;
  }
  EXPECT_EQ(sessions.size() + ended, events.size());
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM tombstones"), absl::StrCat(ended));
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM tombstones t WHERE EXISTS "
                         "(SELECT FROM sessions s WHERE s.id = t.id)"),
            "0");
}

}  // namespace

void ExpectSound(const TestDatabase& database) {
  ExpectDensePositions(database);
  ExpectNoOrphans(database);
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM session_requests"),
            database.Ask("SELECT count(*)::text FROM (SELECT DISTINCT session_id, caller, "
                         "request_id, type = 1 FROM session_events "
                         "WHERE session_id IN (SELECT id FROM sessions)) e"))
      << "requests and their effects";
  const auto sessions = AllSessions(database);
  const auto events = AllEvents(database);
  ExpectEndsAreWhole(database, sessions, events);
  for (const auto& [id, session] : sessions) {
    ASSERT_TRUE(events.contains(id)) << id;
    const auto replayed = Replay(events.at(id));
    ASSERT_TRUE(replayed.ok()) << replayed.status();
    v1::Session rebuilt = *replayed, row = session;
    // A bare heartbeat is no fact.
    for (v1::Session* one : {&rebuilt, &row}) {
      if (one->has_current_task()) one->mutable_current_task()->clear_heartbeat_time();
    }
    std::string difference;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&difference);
    EXPECT_TRUE(differencer.Compare(rebuilt, row)) << id << "\n" << difference;
  }
}

}  // namespace sessiond::db
