// The lists of what lies below sessions, against a plain evaluation in memory: the same rows, in
// the same order, on pages that neither skip nor repeat, and never by reading a whole table in
// search of a few.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "db/query/error_queries.h"
#include "db/query/list_queries.h"
#include "db/query/session_queries.h"
#include "db/rows/resource_rows.h"
#include "state_machine/timestamps.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionMessage;
using v1::SessionTask;

// Session i of the world; what lies below it is made of its number. All lie in partition 0, which
// is every id's partition where there is only one.
std::string SessionId(int i) {
  const std::string number = absl::StrCat(i);
  return absl::StrCat("s", std::string(7 - number.size(), '0'), number);
}
std::string NamespaceOf(int i) { return i % 7 == 0 ? "other" : "default"; }
bool IsDeleted(int i) { return i % 5 == 4; }
int NumberOf(const std::string& session_id) { return std::stoi(session_id.substr(1)); }

constexpr const char* kInsertWorld[] = {
    R"sql(
INSERT INTO sessions (partition, id, namespace, workflow, workflow_revision, owner_id,
                      owner_display_name, state, stage, status, fail_reason, context, counters,
                      refs, labels, hold, created_at, updated_at, completed_at, deleted_at,
                      recover_before_at, sequence, revision, blocking_errors, message_count)
SELECT 0, 's' || lpad(i::text, 7, '0'), CASE WHEN i % 7 = 0 THEN 'other' ELSE 'default' END,
       'flow_' || i % 3, 1, 'u' || i % 17, '', 1 + i % 5, 'stage_' || i % 4, 'status', '', '{}',
       '{}', '{}', '{}', false, timestamptz '2026-01-01 00:00:00Z' + (i / 3) * interval '1 second',
       timestamptz '2026-01-01 00:00:00Z', CASE WHEN i % 11 = 0 THEN timestamptz '2026-02-01Z' END,
       CASE WHEN i % 5 = 4 THEN timestamptz '2026-04-01Z' END,
       CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN timestamptz '2020-01-01Z'
                  ELSE timestamptz '2220-01-01Z' END,
       1, 1, i % 2, i % 4
FROM generate_series($1::bigint, $2::bigint) AS i)sql",
    R"sql(
INSERT INTO session_tasks
SELECT 0, 's' || lpad(i::text, 7, '0'),
       (ARRAY['processing', 'export', 'adf_validation'])[1 + i % 3], 'task-' || i, 1 + i / 2 % 4,
       timestamptz '2026-01-01 00:00:00Z' + (i / 3) * interval '1 second',
       CASE WHEN i / 2 % 4 = 1 THEN timestamptz '2026-02-01Z' END,
       CASE WHEN i / 2 % 4 = 2 THEN timestamptz '2026-02-02Z' END,
       CASE WHEN i / 2 % 4 = 3 THEN timestamptz '2026-02-03Z' END,
       i / 8 % 4, 3, CASE WHEN i % 2 = 0 THEN 0 ELSE 90500 END, timestamptz '2026-01-03Z',
       CASE WHEN i % 2 = 0 THEN jsonb_build_object('percent', i) END, NULL, NULL
FROM generate_series($1::bigint, $2::bigint) AS i WHERE i % 6 <> 0)sql",
    R"sql(
INSERT INTO session_errors
SELECT 0, 's' || lpad(i::text, 7, '0'), 'error-' || i || '-' || j, 1 + (i + j) % 3, 1 + (i * j) % 3,
       'stage_' || i % 4, CASE WHEN j % 2 = 0 THEN 'file-' || i % 10 ELSE '' END,
       CASE WHEN j % 3 = 0 THEN 'ticket-' || i % 10 ELSE '' END, 'It broke ' || i, '["Try again"]',
       jsonb_build_object('n', i), CASE WHEN i % 2 = 0 THEN 'E' || i % 5 ELSE '' END,
       timestamptz '2026-01-01 00:00:00Z' + (i / 3) * interval '1 second',
       CASE WHEN (i + j) % 4 = 0
            THEN timestamptz '2026-03-01 00:00:00Z' + i * interval '1 second' END, '', ''
FROM generate_series($1::bigint, $2::bigint) AS i, generate_series(1, i % 4) AS j)sql",
    R"sql(
INSERT INTO session_messages
SELECT 0, 's' || lpad(i::text, 7, '0'), j, 'message-' || i || '-' || j, false, 'question',
       'What is ' || j, '', 'u', '{}', timestamptz '2026-01-01Z'
FROM generate_series($1::bigint, $2::bigint) AS i, generate_series(1, i % 4) AS j)sql",
    R"sql(
INSERT INTO session_artifacts
SELECT 0, 's' || lpad(i::text, 7, '0'), 'artifact-' || j, 1 + j % 2, 'Name', 'file:///' || j, '{}',
       timestamptz '2026-01-01 00:00:00Z' + (j / 3) * interval '1 second'
FROM generate_series($1::bigint, $2::bigint) AS i, generate_series(1, i % 4) AS j)sql",
};

// More than any list of these tests has.
constexpr std::size_t kNamesMax = 5000;

class World {
 public:
  explicit World(int sessions) : connection_(database_.Connect()) {
    Ask(
        {"INSERT INTO workflows (name, revision, definition) "
         "SELECT 'flow_' || i, 1, '{}' FROM generate_series(0, 2) AS i",
         {}});
    Insert(1, sessions);
  }

  std::vector<Result> RoundTrip(const std::vector<Sql>& statements) {
    for (const Sql& sql : statements) connection_->QueueSql(sql.text, sql.params);
    auto results = connection_->RoundTrip(TestDeadline() + absl::Seconds(60));
    EXPECT_TRUE(results.ok()) << results.status() << "\n" << statements.front().text;
    if (!results.ok()) std::abort();
    return *std::move(results);
  }

  Result Ask(const Sql& sql) { return std::move(RoundTrip({sql}).front()); }

  void Insert(int first, int last) {
    for (const char* sql : kInsertWorld) Ask({sql, {absl::StrCat(first), absl::StrCat(last)}});
  }

  // All rows of a table, in no order.
  template <class Message, class Read>
  std::vector<Message> All(absl::string_view columns, absl::string_view from, Read read) {
    const Result result = Ask({absl::StrCat("SELECT ", columns, " FROM ", from), {}});
    std::vector<Message> rows(result.rows());
    for (int row = 0; row < result.rows(); ++row) read(result, row, 0, &rows[row]);
    return rows;
  }
  std::vector<SessionTask> Tasks() {
    return All<SessionTask>(kTaskColumns, "session_tasks t", ReadTask);
  }
  std::vector<SessionError> Errors() {
    return All<SessionError>(kErrorColumns, "session_errors x", ReadError);
  }
  std::vector<SessionArtifact> Artifacts() {
    return All<SessionArtifact>(kArtifactColumns, "session_artifacts a", ReadArtifact);
  }

  template <class Answered>
  Answered Ask(Question<Answered> question) {
    return question.read(RoundTrip(question.statements));
  }

  // One page; `after` moves on, and is empty at the end.
  std::vector<SessionTask> Page(const TaskSelection& selection, int page_size, KeyValues* after) {
    return Turn(Ask(*ListPage(selection, 1, *after, page_size)), page_size, after);
  }
  std::vector<SessionError> Page(const ErrorSelection& selection, int page_size, KeyValues* after) {
    return Turn(Ask(*ListPage(selection, 1, *after, page_size)), page_size, after);
  }

  // All pages, by what names a row.
  template <class Selection, class Name>
  std::vector<std::string> Names(const Selection& selection, int page_size, Name name) {
    std::vector<std::string> names;
    KeyValues after;
    do {
      for (const auto& row : Page(selection, page_size, &after)) names.push_back((row.*name)());
      if (names.size() > kNamesMax) {
        ADD_FAILURE() << "pages without end";
        break;
      }
    } while (!after.empty());
    return names;
  }
  std::vector<std::string> Names(const TaskSelection& selection, int page_size) {
    return Names(selection, page_size, &SessionTask::session_id);
  }
  std::vector<std::string> Names(const ErrorSelection& selection, int page_size) {
    return Names(selection, page_size, &SessionError::error_id);
  }

 private:
  template <class Message>
  std::vector<Message> Turn(const db::Page<Message>& page, int page_size, KeyValues* after) {
    EXPECT_LE(page.rows.size(), page_size);
    EXPECT_TRUE(page.end.empty() || !page.rows.empty());
    *after = page.end;
    return {page.rows.begin(), page.rows.end()};
  }

  TestDatabase database_;
  std::unique_ptr<Connection> connection_;
};

Filter Parsed(const std::string& filter, FilterResource resource) {
  auto parsed = ParseFilter(filter, resource);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return *std::move(parsed);
}

TaskSelection OfTasks(const std::string& filter, std::string namespace_name = "default") {
  return {.namespace_name = std::move(namespace_name),
          .filter = Parsed(filter, FilterResource::kTasks)};
}

ErrorSelection OfErrors(const std::string& filter, std::string session_id = "",
                        std::string namespace_name = "default", bool include_deleted = false) {
  return {.session_id = std::move(session_id),
          .namespace_name = std::move(namespace_name),
          .filter = Parsed(filter, FilterResource::kErrors),
          .include_deleted = include_deleted};
}

// What lists of rows below sessions are ordered by.
std::pair<absl::Time, std::string> KeyOf(const SessionTask& task) {
  return {FromProto(task.start_time()), task.session_id()};
}
std::pair<absl::Time, std::string> KeyOf(const SessionError& error) {
  return {FromProto(error.create_time()), error.error_id()};
}
std::pair<absl::Time, std::string> KeyOf(const SessionArtifact& artifact) {
  return {FromProto(artifact.create_time()), artifact.artifact_id()};
}

// The names of rows that are meant, the newest first.
template <class Message, class Name>
std::vector<std::string> NewestFirst(std::vector<Message> rows, Name name,
                                     const std::function<bool(const Message&)>& is_meant) {
  rows.erase(
      std::remove_if(rows.begin(), rows.end(), [&](const Message& row) { return !is_meant(row); }),
      rows.end());
  std::sort(rows.begin(), rows.end(),
            [&](const Message& a, const Message& b) { return KeyOf(b) < KeyOf(a); });
  std::vector<std::string> names;
  for (const Message& row : rows) names.push_back((row.*name)());
  return names;
}

bool IsSeen(const std::string& session_id, const std::string& namespace_name,
            bool include_deleted) {
  const int i = NumberOf(session_id);
  return (namespace_name == "-" || namespace_name == NamespaceOf(i)) &&
         (include_deleted || !IsDeleted(i));
}

absl::Time At(const char* text) {
  absl::Time time;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, nullptr)) << text;
  return time;
}

// ---- Rows

TEST(Rows, ATaskIsReadWhole) {
  World world(1);
  world.Ask({R"sql(
      UPDATE session_tasks SET status = 3, retry_count = 2,
        completed_at = '2026-05-01 10:00:00.000001Z', failed_at = '2026-05-01 10:00:00.000002Z',
        cancelled_at = '2026-05-01 10:00:00.000003Z',
        started_at = '2026-05-01 10:00:00.000004Z', heartbeat_at = '2026-05-01 10:00:00.000005Z',
        progress = '{"a": 1}', result = '{}', failure_context = '{"b": ["c"]}')sql",
             {}});
  const auto tasks = world.Tasks();
  ASSERT_EQ(tasks.size(), 1u);
  const SessionTask& task = tasks[0];
  EXPECT_EQ(task.session_id(), SessionId(1));
  EXPECT_EQ(task.task_type(), "export");
  EXPECT_EQ(task.task_id(), "task-1");
  EXPECT_EQ(task.status(), SessionTask::FAILED);
  EXPECT_EQ(FromProto(task.complete_time()), At("2026-05-01T10:00:00.000001Z"));
  EXPECT_EQ(FromProto(task.fail_time()), At("2026-05-01T10:00:00.000002Z"));
  EXPECT_EQ(FromProto(task.cancel_time()), At("2026-05-01T10:00:00.000003Z"));
  EXPECT_EQ(FromProto(task.start_time()), At("2026-05-01T10:00:00.000004Z"));
  EXPECT_EQ(FromProto(task.heartbeat_time()), At("2026-05-01T10:00:00.000005Z"));
  EXPECT_EQ(task.retry_count(), 2);
  EXPECT_EQ(task.max_retries(), 3);
  EXPECT_EQ(FromProto(task.heartbeat_timeout()), absl::Milliseconds(90500));
  EXPECT_EQ(task.progress().fields().at("a").number_value(), 1);
  EXPECT_TRUE(task.has_result());
  EXPECT_EQ(task.result().fields_size(), 0);
  EXPECT_EQ(task.failure_context().fields().at("b").list_value().values(0).string_value(), "c");
}

TEST(Rows, WhatATaskHasNotIsNotSet) {
  World world(1);
  world.Ask({"UPDATE session_tasks SET status = 1, heartbeat_timeout = 0", {}});
  const SessionTask task = world.Tasks().front();
  EXPECT_EQ(task.status(), SessionTask::RUNNING);
  EXPECT_FALSE(task.has_complete_time() || task.has_fail_time() || task.has_cancel_time());
  EXPECT_FALSE(task.has_heartbeat_timeout());
  EXPECT_FALSE(task.has_progress() || task.has_result() || task.has_failure_context());
}

TEST(Rows, AnErrorIsReadWhole) {
  World world(1);
  world.Ask({R"sql(
      UPDATE session_errors SET category = 3, severity = 2, operation_stage = 'upload',
        related_file_id = 'f', related_ticket_id = 't', user_message = 'm',
        recovery_actions = '["one", "two \"2\""]', technical_details = '{"a": true}',
        error_code = 'E1', created_at = '2026-05-01 10:00:00.000001Z',
        resolved_at = '2026-05-01 10:00:00.000002Z', resolver = 'r', resolution = 'done')sql",
             {}});
  const auto errors = world.Errors();
  ASSERT_EQ(errors.size(), 1u);
  const SessionError& error = errors[0];
  EXPECT_EQ(error.error_id(), "error-1-1");
  EXPECT_EQ(error.session_id(), SessionId(1));
  EXPECT_EQ(error.category(), SessionError::TEMPORARY);
  EXPECT_EQ(error.severity(), SessionError::WARNING);
  EXPECT_EQ(error.operation_stage(), "upload");
  EXPECT_EQ(error.related_file_id(), "f");
  EXPECT_EQ(error.related_ticket_id(), "t");
  EXPECT_EQ(error.user_message(), "m");
  EXPECT_THAT(error.recovery_actions(), ElementsAre("one", "two \"2\""));
  EXPECT_TRUE(error.technical_details().fields().at("a").bool_value());
  EXPECT_EQ(error.error_code(), "E1");
  EXPECT_EQ(FromProto(error.create_time()), At("2026-05-01T10:00:00.000001Z"));
  EXPECT_EQ(FromProto(error.resolve_time()), At("2026-05-01T10:00:00.000002Z"));
  EXPECT_EQ(error.resolver(), "r");
  EXPECT_EQ(error.resolution(), "done");
  world.Ask(
      {"UPDATE session_errors SET resolved_at = NULL, recovery_actions = '[]', "
       "technical_details = '{}'",
       {}});
  const SessionError open = world.Errors().front();
  EXPECT_FALSE(open.has_resolve_time());
  EXPECT_FALSE(open.has_technical_details());
  EXPECT_THAT(open.recovery_actions(), IsEmpty());
}

TEST(Rows, MessagesAndArtifactsAreReadWhole) {
  World world(1);
  world.Ask({R"sql(UPDATE session_messages SET content = 'c', question_type = 'technical',
      author = 'a', metadata = '{"k": 1}', created_at = '2026-05-01 10:00:00.000001Z')sql",
             {}});
  const SessionMessage message =
      world.All<SessionMessage>(kMessageColumns, "session_messages m", ReadMessage).front();
  EXPECT_EQ(message.message_id(), "message-1-1");
  EXPECT_EQ(message.session_id(), SessionId(1));
  EXPECT_EQ(message.sequence(), 1);
  EXPECT_EQ(message.type(), "question");
  EXPECT_EQ(message.content(), "c");
  EXPECT_EQ(message.question_type(), "technical");
  EXPECT_EQ(message.author(), "a");
  EXPECT_EQ(message.metadata().fields().at("k").number_value(), 1);
  EXPECT_EQ(FromProto(message.create_time()), At("2026-05-01T10:00:00.000001Z"));

  world.Ask({R"sql(UPDATE session_artifacts SET kind = 2, display_name = 'd', uri = 'u',
      metadata = '{"k": 2}', created_at = '2026-05-01 10:00:00.000001Z')sql",
             {}});
  const SessionArtifact artifact = world.Artifacts().front();
  EXPECT_EQ(artifact.artifact_id(), "artifact-1");
  EXPECT_EQ(artifact.session_id(), SessionId(1));
  EXPECT_EQ(artifact.kind(), SessionArtifact::TICKET);
  EXPECT_EQ(artifact.display_name(), "d");
  EXPECT_EQ(artifact.uri(), "u");
  EXPECT_EQ(artifact.metadata().fields().at("k").number_value(), 2);
  EXPECT_EQ(FromProto(artifact.create_time()), At("2026-05-01T10:00:00.000001Z"));
}

TEST(Rows, ASessionBringsItsTaskAndItsCounts) {
  World world(6);
  const SessionSelection all{.namespace_name = "-", .include_deleted = true};
  const auto page = world.Ask(*ListPage(all, 1, {}, 6));
  EXPECT_TRUE(page.end.empty());
  ASSERT_EQ(page.rows.size(), 6);
  for (const v1::Session& session : page.rows) {
    const int i = NumberOf(session.session_id());
    EXPECT_EQ(session.has_current_task(), i % 6 != 0) << i;
    EXPECT_EQ(session.current_task().task_id(), i % 6 == 0 ? "" : absl::StrCat("task-", i));
    EXPECT_EQ(session.has_blocking_errors(), i % 2 == 1) << i;
    EXPECT_EQ(session.message_count(), i % 4) << i;
  }
}

TEST(Rows, ALoadedSessionNamesItsBlockingErrorsOldestFirst) {
  World world(4);
  world.Ask({"DELETE FROM session_errors", {}});
  world.Ask({"UPDATE sessions SET blocking_errors = CASE WHEN id = $1 THEN 3 ELSE 0 END",
             {SessionId(3)}});
  world.Ask({R"sql(
      INSERT INTO session_errors
      SELECT 0, session_id, error_id, 1, severity, '', '', '', 'm', '[]', '{}', '',
             created_at::timestamptz, resolved_at::timestamptz, '', ''
      FROM (VALUES ($1, 'c', 1, '2026-01-01Z', NULL), ($1, 'b', 1, '2026-01-02Z', NULL),
                   ($1, 'a', 1, '2026-01-02Z', NULL),
                   ($1, 'resolved', 1, '2026-01-01Z', '2026-01-02Z'),
                   ($1, 'warning', 2, '2026-01-01Z', NULL),
                   ($2, 'uncounted', 1, '2026-01-01Z', NULL))
           AS e (session_id, error_id, severity, created_at, resolved_at))sql",
             {SessionId(3), SessionId(2)}});
  const Result result = world.Ask(
      {kLoadSessions.sql,
       {"{0}", absl::StrFormat(R"sql({"(0,%s,0,0)","(0,%s,0,0)"})sql", SessionId(2), SessionId(3)),
        "{}", "{}", "{}"}});
  ASSERT_EQ(result.rows(), 2);
  std::map<std::string, std::string> ids;
  for (int row = 0; row < 2; ++row) {
    v1::Session session;
    ReadSession(result, row, 1, &session);
    ids[session.session_id()] = std::string(result.Text(row, 1 + kSessionColumnCount));
  }
  EXPECT_EQ(ids[SessionId(2)], "");
  EXPECT_EQ(ids[SessionId(3)], "c,a,b");
}

// ---- Filters

TEST(ListQueries, EveryTaskFilterSelectsWhatItSays) {
  World world(120);
  struct Row {
    const char* filter;
    std::function<bool(const SessionTask&)> matches;
  };
  const absl::Time moment = At("2026-01-01T00:00:20Z");
  const auto started = [](const SessionTask& t) { return FromProto(t.start_time()); };
  const auto retryable = [](const SessionTask& t) {
    return t.status() == SessionTask::FAILED && t.retry_count() < 3;
  };
  using T = const SessionTask&;
  const std::vector<Row> rows = {
      {"", [](T) { return true; }},
      {"session_id = s0000011", [](T t) { return t.session_id() == "s0000011"; }},
      {"session_id != s0000011", [](T t) { return t.session_id() != "s0000011"; }},
      {"task_id = task-11", [](T t) { return t.task_id() == "task-11"; }},
      {"task_id != task-11", [](T t) { return t.task_id() != "task-11"; }},
      {"task_type = export", [](T t) { return t.task_type() == "export"; }},
      {"task_type != export", [](T t) { return t.task_type() != "export"; }},
      {"status = \"RUNNING\"", [](T t) { return t.status() == SessionTask::RUNNING; }},
      {"status = COMPLETED", [](T t) { return t.status() == SessionTask::COMPLETED; }},
      {"status = CANCELLED", [](T t) { return t.status() == SessionTask::CANCELLED; }},
      {"status != FAILED", [](T t) { return t.status() != SessionTask::FAILED; }},
      {"retryable = true", retryable},
      {"retryable = false", [&](T t) { return !retryable(t); }},
      {"retryable != false", retryable},
      {"retry_count = 2", [](T t) { return t.retry_count() == 2; }},
      {"retry_count != 2", [](T t) { return t.retry_count() != 2; }},
      {"retry_count > 1", [](T t) { return t.retry_count() > 1; }},
      {"retry_count <= -1", [](T t) { return t.retry_count() <= -1; }},
      {"start_time = 2026-01-01T00:00:20Z", [&](T t) { return started(t) == moment; }},
      {"start_time < 2026-01-01T00:00:20Z", [&](T t) { return started(t) < moment; }},
      {"start_time >= 2026-01-01T00:00:20Z", [&](T t) { return started(t) >= moment; }},
      {"status = RUNNING AND task_type = \"export\"",
       [](T t) { return t.status() == SessionTask::RUNNING && t.task_type() == "export"; }},
      {"NOT (retryable = true OR status = RUNNING)",
       [&](T t) { return !retryable(t) && t.status() != SessionTask::RUNNING; }},
  };
  const auto all = world.Tasks();
  int telling = 0;
  for (const Row& row : rows) {
    for (const char* name : {"default", "other", "-", "none"}) {
      const auto expected =
          NewestFirst<SessionTask>(all, &SessionTask::session_id, [&](const SessionTask& task) {
            return IsSeen(task.session_id(), name, false) && row.matches(task);
          });
      for (const int page_size : {7, 1000}) {
        EXPECT_EQ(world.Names(OfTasks(row.filter, name), page_size), expected)
            << row.filter << " in " << name;
      }
      telling += !expected.empty();
    }
  }
  EXPECT_GT(telling, 55) << "most filters should select some tasks";
}

TEST(ListQueries, EveryErrorFilterSelectsWhatItSays) {
  World world(120);
  struct Row {
    const char* filter;
    std::function<bool(const SessionError&)> matches;
  };
  const absl::Time moment = At("2026-01-01T00:00:20Z"), resolved = At("2026-03-01T00:01:00Z");
  const auto created = [](const SessionError& e) { return FromProto(e.create_time()); };
  using E = const SessionError&;
  const std::vector<Row> rows = {
      {"", [](E) { return true; }},
      {"error_id = error-11-2", [](E e) { return e.error_id() == "error-11-2"; }},
      {"error_id != error-11-2", [](E e) { return e.error_id() != "error-11-2"; }},
      {"category = USER_FIXABLE", [](E e) { return e.category() == SessionError::USER_FIXABLE; }},
      {"category != TEMPORARY", [](E e) { return e.category() != SessionError::TEMPORARY; }},
      {"category = ADMIN_REQUIRED",
       [](E e) { return e.category() == SessionError::ADMIN_REQUIRED; }},
      {"severity = BLOCKING", [](E e) { return e.severity() == SessionError::BLOCKING; }},
      {"severity != INFO", [](E e) { return e.severity() != SessionError::INFO; }},
      {"operation_stage = stage_2", [](E e) { return e.operation_stage() == "stage_2"; }},
      {"operation_stage != stage_2", [](E e) { return e.operation_stage() != "stage_2"; }},
      {"related_file_id = file-3", [](E e) { return e.related_file_id() == "file-3"; }},
      {"related_file_id = ''", [](E e) { return e.related_file_id().empty(); }},
      {"related_ticket_id = ticket-7", [](E e) { return e.related_ticket_id() == "ticket-7"; }},
      {"related_ticket_id != ''", [](E e) { return !e.related_ticket_id().empty(); }},
      {"error_code = E2", [](E e) { return e.error_code() == "E2"; }},
      {"error_code != E2", [](E e) { return e.error_code() != "E2"; }},
      {"resolved = true", [](E e) { return e.has_resolve_time(); }},
      {"resolved = false", [](E e) { return !e.has_resolve_time(); }},
      {"create_time > 2026-01-01T00:00:20Z", [&](E e) { return created(e) > moment; }},
      {"create_time = 2026-01-01T00:00:20Z", [&](E e) { return created(e) == moment; }},
      {"resolve_time:*", [](E e) { return e.has_resolve_time(); }},
      {"NOT resolve_time:*", [](E e) { return !e.has_resolve_time(); }},
      {"resolve_time < 2026-03-01T00:01:00Z",
       [&](E e) { return e.has_resolve_time() && FromProto(e.resolve_time()) < resolved; }},
      {"NOT resolve_time < 2026-03-01T00:01:00Z",
       [&](E e) { return !(e.has_resolve_time() && FromProto(e.resolve_time()) < resolved); }},
      {"resolve_time != 2026-03-01T00:01:00Z",
       [&](E e) { return e.has_resolve_time() && FromProto(e.resolve_time()) != resolved; }},
      {"severity = BLOCKING AND resolved = false",
       [](E e) { return e.severity() == SessionError::BLOCKING && !e.has_resolve_time(); }},
  };
  const auto all = world.Errors();
  int telling = 0;
  for (const Row& row : rows) {
    for (const char* name : {"default", "other", "-", "none"}) {
      for (const bool include_deleted : {false, true}) {
        const auto expected =
            NewestFirst<SessionError>(all, &SessionError::error_id, [&](const SessionError& error) {
              return IsSeen(error.session_id(), name, include_deleted) && row.matches(error);
            });
        EXPECT_EQ(world.Names(OfErrors(row.filter, "", name, include_deleted), 1000), expected)
            << row.filter << " in " << name;
        telling += !expected.empty();
      }
    }
    // Of one session, whatever its namespace and whether it is deleted: that was asked before.
    for (const std::string& id : {SessionId(11), SessionId(39), SessionId(119), SessionId(4)}) {
      const auto expected =
          NewestFirst<SessionError>(all, &SessionError::error_id, [&](const SessionError& error) {
            return error.session_id() == id && row.matches(error);
          });
      EXPECT_EQ(world.Names(OfErrors(row.filter, id), 2), expected) << row.filter << " of " << id;
    }
  }
  EXPECT_GT(telling, 120) << "most filters should select some errors";
}

// ---- Pages

TEST(ListQueries, PagesOfErrorsMeetEveryErrorOnce) {
  World world(120);
  const auto expected = NewestFirst<SessionError>(
      world.Errors(), &SessionError::error_id,
      [](const SessionError& e) { return IsSeen(e.session_id(), "default", false); });
  for (const int page_size : {1, 7, static_cast<int>(expected.size()), 1000})
    EXPECT_EQ(world.Names(OfErrors(""), page_size), expected) << page_size;
}

// What comes between two pages belongs to the pages still to come or to none, wherever it sorts.
template <class Selection, class Name>
void ExpectStablePages(World& world, const Selection& selection, Name name) {
  const std::vector<std::string> expected = world.Names(selection, 1000);
  ASSERT_GT(expected.size(), 100u);
  std::vector<std::string> seen;
  KeyValues after;
  int next = 1000;
  do {
    for (const auto& row : world.Page(selection, 17, &after)) seen.push_back((row.*name)());
    world.Insert(next, next + 20);
    // And some among the old ones.
    world.Ask(
        {"UPDATE session_tasks SET started_at = timestamptz '2026-01-01Z' + "
         "random() * interval '40 seconds' WHERE session_id >= $1",
         {SessionId(next)}});
    world.Ask(
        {"UPDATE session_errors SET created_at = timestamptz '2026-01-01Z' + "
         "random() * interval '40 seconds' WHERE session_id >= $1",
         {SessionId(next)}});
    next += 21;
    ASSERT_LT(next, 4000);
  } while (!after.empty());
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), seen.size()) << "nothing twice";
  const std::set<std::string> existed(expected.begin(), expected.end());
  seen.erase(std::remove_if(seen.begin(), seen.end(),
                            [&](const std::string& id) { return !existed.contains(id); }),
             seen.end());
  EXPECT_EQ(seen, expected) << "nothing left out";
}

TEST(ListQueries, PagesOfTasksAreStableWhileOthersStart) {
  World world(200);
  ExpectStablePages(world, OfTasks(""), &SessionTask::session_id);
}

TEST(ListQueries, PagesOfErrorsAreStableWhileOthersAreRecorded) {
  World world(200);
  ExpectStablePages(world, OfErrors(""), &SessionError::error_id);
}

std::vector<int> Sequences(World& world, const std::string& session_id, int32_t after,
                           bool descending, int page_size, const std::function<void()>& between) {
  const MessageSelection selection{
      .session_id = session_id, .after_sequence = after, .descending = descending};
  std::vector<int> sequences;
  KeyValues end;
  do {
    const auto page = world.Ask(*ListPage(selection, 1, end, page_size));
    EXPECT_TRUE(page.end.empty() || !page.rows.empty());
    for (const SessionMessage& message : page.rows) {
      EXPECT_EQ(message.session_id(), session_id);
      sequences.push_back(message.sequence());
    }
    end = page.end;
    between();
  } while (!end.empty() && sequences.size() < kNamesMax);
  return sequences;
}

TEST(ListQueries, MessagesComeByTheirSequenceInEitherDirection) {
  World world(3);
  constexpr char kInsertMessages[] = R"sql(
      INSERT INTO session_messages
      SELECT 0, 's0000001', j, 'm' || j, false, 'answer', 'text ' || j, '', '', '{}',
             timestamptz '2026-01-01Z' - j * interval '1 second'
      FROM generate_series($1::bigint, $2::bigint) AS j)sql";
  world.Ask({kInsertMessages, {"2", "40"}});
  const auto range = [](int from, int to) {
    std::vector<int> numbers;
    for (int n = from; n != to; n += from < to ? 1 : -1) numbers.push_back(n);
    return numbers;
  };
  const auto nothing = [] {};
  for (const int page_size : {1, 7, 40, 1000}) {
    EXPECT_EQ(Sequences(world, SessionId(1), 0, false, page_size, nothing), range(1, 41));
    EXPECT_EQ(Sequences(world, SessionId(1), 0, true, page_size, nothing), range(40, 0));
    EXPECT_EQ(Sequences(world, SessionId(1), 12, false, page_size, nothing), range(13, 41));
    EXPECT_EQ(Sequences(world, SessionId(1), 12, true, page_size, nothing), range(11, 0));
    EXPECT_THAT(Sequences(world, SessionId(1), 40, false, page_size, nothing), IsEmpty());
    EXPECT_THAT(Sequences(world, SessionId(1), 1, true, page_size, nothing), IsEmpty());
    EXPECT_THAT(Sequences(world, "none", 0, false, page_size, nothing), IsEmpty());
  }
  int next = 41;
  const auto append = [&] {
    if (next < 60) world.Ask({kInsertMessages, {absl::StrCat(next), absl::StrCat(next)}});
    ++next;
  };
  EXPECT_EQ(Sequences(world, SessionId(1), 0, true, 5, append), range(40, 0));
  const std::vector<int> forwards = Sequences(world, SessionId(1), 0, false, 5, append);
  EXPECT_GT(forwards.size(), 50u) << "what was appended meanwhile comes at the end";
  EXPECT_EQ(forwards, range(1, static_cast<int>(forwards.size()) + 1));
}

TEST(ListQueries, ArtifactsComeOldestFirstOfEveryKind) {
  World world(3);
  world.Ask({R"sql(
      INSERT INTO session_artifacts
      SELECT 0, 's0000001', 'more-' || j, 1 + j % 2, '', '', '{}',
             timestamptz '2026-01-01 00:00:00Z' + (j / 4) * interval '1 second'
      FROM generate_series(1, 50) AS j)sql",
             {}});
  auto all = world.Artifacts();
  std::sort(all.begin(), all.end(),
            [](const SessionArtifact& a, const SessionArtifact& b) { return KeyOf(a) < KeyOf(b); });
  for (const auto kind :
       {SessionArtifact::KIND_UNSPECIFIED, SessionArtifact::FILE, SessionArtifact::TICKET}) {
    std::vector<std::string> expected;
    for (const SessionArtifact& artifact : all) {
      if (artifact.session_id() == SessionId(1) &&
          (kind == SessionArtifact::KIND_UNSPECIFIED || artifact.kind() == kind))
        expected.push_back(artifact.artifact_id());
    }
    ASSERT_GT(expected.size(), 20u);
    for (const int page_size : {1, 7, 1000}) {
      std::vector<std::string> ids;
      KeyValues after;
      do {
        const auto page = world.Ask(*ListPage(
            ArtifactSelection{.session_id = SessionId(1), .kind = kind}, 1, after, page_size));
        for (const auto& artifact : page.rows) ids.push_back(artifact.artifact_id());
        after = page.end;
      } while (!after.empty() && ids.size() < kNamesMax);
      EXPECT_EQ(ids, expected) << kind << " " << page_size;
    }
  }
}

template <class Message>
std::size_t BytesOf(const Page<Message>& page) {
  std::size_t bytes = 0;
  for (const Message& message : page.rows) bytes += message.ByteSizeLong();
  return bytes;
}

TEST(ListQueries, APageEndsEarlyAtItsBytes) {
  World world(200);
  const auto fill = [&](const char* table, const char* column) {
    world.Ask({absl::StrCat("UPDATE ", table, " SET ", column,
                            " = jsonb_build_object('k', repeat('x', 60000))"),
               {}});
  };
  fill("session_tasks", "result");
  fill("session_errors", "technical_details");
  world.Ask({"UPDATE session_messages SET content = repeat('x', 1 << 20)", {}});

  auto ask_tasks = *ListPage(OfTasks(""), 1, {}, 1000);
  const std::vector<Result> tasks = world.RoundTrip(ask_tasks.statements);
  EXPECT_LE(tasks.front().rows(), 60) << "the database itself ends the page";
  const auto task_page = ask_tasks.read(tasks);
  EXPECT_FALSE(task_page.end.empty());
  EXPECT_GT(task_page.rows.size(), 40);
  EXPECT_LE(BytesOf(task_page), kPageBytesMax + 1000 * 10);
  EXPECT_THAT(world.Names(OfTasks("", "-"), 1000), SizeIs(std::size_t{133}))
      << "what did not fit comes later";

  auto ask_errors = *ListPage(OfErrors(""), 1, {}, 1000);
  const std::vector<Result> errors = world.RoundTrip(ask_errors.statements);
  EXPECT_LE(errors.front().rows(), 60);
  const auto error_page = ask_errors.read(errors);
  EXPECT_FALSE(error_page.end.empty());
  EXPECT_GT(error_page.rows.size(), 40);

  const auto messages =
      world.Ask(*ListPage(MessageSelection{.session_id = SessionId(3)}, 1, {}, 1000));
  EXPECT_FALSE(messages.end.empty());
  EXPECT_EQ(messages.rows.size(), 2);

  auto ask_sessions = *ListPage(SessionSelection{.namespace_name = "-"}, 1, {}, 1000);
  const std::vector<Result> sessions = world.RoundTrip(ask_sessions.statements);
  EXPECT_LE(sessions.front().rows(), 80) << "a session's task counts";
  const auto session_page = ask_sessions.read(sessions);
  EXPECT_FALSE(session_page.end.empty());
  EXPECT_LE(BytesOf(session_page), kPageBytesMax + 1000 * 10);
}

// ---- Summaries

v1::SummarizeErrorsResponse Summary(World& world, const ErrorSelection& selection) {
  return world.Ask(ErrorSummary(selection, 1));
}

std::string Shown(const v1::SummarizeErrorsResponse& summary) {
  std::string text = absl::StrCat(summary.total(), "/", summary.open_total(), "\n");
  for (const auto& count : summary.counts()) {
    absl::StrAppend(&text, count.category(), count.severity(), " ", count.count(), "/",
                    count.open_count(), "\n");
  }
  for (const auto& pattern : summary.patterns()) {
    absl::StrAppend(&text, pattern.workflow(), ",", pattern.operation_stage(), ",",
                    pattern.category(), ",", pattern.error_code(), " ", pattern.count(), " in ",
                    pattern.session_count(), "\n");
  }
  return text;
}

// The same by hand. `archived`: patterns of sessions that are no more, with how often.
v1::SummarizeErrorsResponse Counted(
    const std::vector<SessionError>& errors,
    std::map<std::tuple<std::string, std::string, int, std::string>, int> archived) {
  std::map<std::pair<int, int>, std::pair<int, int>> counts;
  std::map<std::tuple<std::string, std::string, int, std::string>, std::set<std::string>> sessions;
  v1::SummarizeErrorsResponse summary;
  for (const SessionError& error : errors) {
    auto& [count, open] = counts[{error.category(), error.severity()}];
    ++count;
    open += !error.has_resolve_time();
    const std::tuple<std::string, std::string, int, std::string> pattern(
        absl::StrCat("flow_", NumberOf(error.session_id()) % 3), error.operation_stage(),
        error.category(), error.error_code());
    ++archived[pattern];
    sessions[pattern].insert(error.session_id());
    summary.set_total(summary.total() + 1);
    summary.set_open_total(summary.open_total() + !error.has_resolve_time());
  }
  for (const auto& [kind, count] : counts) {
    auto* added = summary.add_counts();
    added->set_category(static_cast<SessionError::Category>(kind.first));
    added->set_severity(static_cast<SessionError::Severity>(kind.second));
    added->set_count(count.first);
    added->set_open_count(count.second);
  }
  std::vector<std::pair<std::tuple<std::string, std::string, int, std::string>, int>> patterns(
      archived.begin(), archived.end());
  std::stable_sort(patterns.begin(), patterns.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [pattern, count] : patterns) {
    if (count < 2 || summary.patterns_size() == 100) continue;
    auto* added = summary.add_patterns();
    added->set_workflow(std::get<0>(pattern));
    added->set_operation_stage(std::get<1>(pattern));
    added->set_category(static_cast<SessionError::Category>(std::get<2>(pattern)));
    added->set_error_code(std::get<3>(pattern));
    added->set_count(count);
    added->set_session_count(static_cast<int>(sessions[pattern].size()));
  }
  return summary;
}

TEST(ErrorSummaries, CountWhatThereIsAndWhatHappensMoreThanOnce) {
  World world(150);
  world.Ask({R"sql(
      INSERT INTO error_patterns VALUES (0, 'default', 'gone', 'stage_1', 1, 'E1', 40),
                                        (0, 'other', 'gone', 'stage_1', 1, 'E1', 2),
                                        (0, 'default', 'gone', 'stage_1', 2, '', 1),
                                        (0, 'default', 'flow_1', 'stage_2', 1, 'E0', 5))sql",
             {}});
  const auto errors = world.Errors();
  for (const char* name : {"default", "other", "-", "none"}) {
    for (const bool include_deleted : {false, true}) {
      for (const char* filter : {"", "resolved = false"}) {
        std::vector<SessionError> meant;
        std::copy_if(errors.begin(), errors.end(), std::back_inserter(meant), [&](const auto& e) {
          return IsSeen(e.session_id(), name, include_deleted) &&
                 (*filter == '\0' || !e.has_resolve_time());
        });
        std::map<std::tuple<std::string, std::string, int, std::string>, int> archived;
        const std::string space = name;
        if (*filter == '\0' && space != "none") {
          if (space != "other") {
            archived[{"gone", "stage_1", 1, "E1"}] += 40;
            archived[{"gone", "stage_1", 2, ""}] += 1;
            archived[{"flow_1", "stage_2", 1, "E0"}] += 5;
          }
          if (space != "default") archived[{"gone", "stage_1", 1, "E1"}] += 2;
        }
        EXPECT_EQ(Shown(Summary(world, OfErrors(filter, "", name, include_deleted))),
                  Shown(Counted(meant, archived)))
            << name << " " << filter;
      }
    }
  }
  // Of one session: its own, and nobody's archive.
  std::vector<SessionError> own;
  std::copy_if(errors.begin(), errors.end(), std::back_inserter(own),
               [&](const auto& e) { return e.session_id() == SessionId(11); });
  ASSERT_EQ(own.size(), 3u);
  EXPECT_EQ(Shown(Summary(world, OfErrors("", SessionId(11)))), Shown(Counted(own, {})));
  EXPECT_EQ(Shown(Summary(world, OfErrors("", "none"))), "0/0\n");
}

TEST(ErrorSummaries, TellTheHundredMostFrequentPatterns) {
  World world(1);
  world.Ask(
      {"INSERT INTO error_patterns SELECT 0, 'default', 'flow', 'stage', 1, 'E' || i, i "
       "FROM generate_series(1, 150) AS i",
       {}});
  const auto summary = Summary(world, OfErrors(""));
  ASSERT_EQ(summary.patterns_size(), 100);
  EXPECT_EQ(summary.patterns(0).count(), 150);
  EXPECT_EQ(summary.patterns(99).count(), 51);
  EXPECT_EQ(summary.total(), 1) << "of archived sessions only patterns are left";
}

// ---- Sessions

TEST(ListQueries, AnOwnersRecoverableSessionsComeNewestFirst) {
  World world(400);
  std::vector<std::string> expected;
  for (int i = 400; i >= 1; --i) {
    const bool live = i % 5 == 1 || i % 5 == 2;
    if (i % 17 == 3 && live && i % 11 != 0 && i % 4 >= 2 && i % 7 != 0)
      expected.push_back(SessionId(i));
  }
  ASSERT_GT(expected.size(), 3u);
  std::vector<std::string> ids;
  const auto page = world.Ask(RecoverableSessions("default", "u3", {}));
  for (const v1::Session& session : page.rows) {
    EXPECT_TRUE(IsRecoverable(session, absl::Now()));
    ids.push_back(session.session_id());
  }
  EXPECT_EQ(ids, expected);
  EXPECT_TRUE(world.Ask(RecoverableSessions("none", "u3", {})).rows.empty());
  EXPECT_TRUE(world.Ask(RecoverableSessions("-", "nobody", {})).rows.empty());
}

TEST(ListQueries, TheFullViewHasTheNewestFilesAndOpenErrors) {
  World world(3);
  world.Ask({R"sql(
      INSERT INTO session_artifacts
      SELECT 0, 's0000001', 'a' || lpad(j::text, 4, '0'), 1 + j % 2, '', '', '{}',
             timestamptz '2026-02-01Z' + j * interval '1 second'
      FROM generate_series(1, 300) AS j)sql",
             {}});
  world.Ask({R"sql(
      INSERT INTO session_errors
      SELECT 0, 's0000001', 'e' || lpad(j::text, 4, '0'), 1, 1, '', '', '', 'm', '[]', '{}', '',
             timestamptz '2026-02-01Z' + j * interval '1 second',
             CASE WHEN j % 2 = 0 THEN timestamptz '2026-03-01Z' END, '', ''
      FROM generate_series(1, 300) AS j)sql",
             {}});
  const Aggregate aggregate = world.Ask(FullSession(SessionId(1), 1));
  ASSERT_TRUE(aggregate.session.has_value());
  EXPECT_FALSE(aggregate.tombstone.has_value());
  const v1::Session& session = *aggregate.session;
  EXPECT_EQ(session.session_id(), SessionId(1));
  EXPECT_EQ(session.current_task().task_id(), "task-1");
  ASSERT_EQ(session.files_size(), 100);
  EXPECT_EQ(session.files(0).artifact_id(), "a0300");
  EXPECT_EQ(session.files(99).artifact_id(), "a0102");
  ASSERT_EQ(session.open_errors_size(), 100);
  EXPECT_EQ(session.open_errors(0).error_id(), "e0299");
  EXPECT_EQ(session.open_errors(99).error_id(), "e0101");
}

TEST(ListQueries, TheFullViewStaysWithinAReply) {
  World world(3);
  world.Ask({R"sql(
      INSERT INTO session_artifacts
      SELECT 0, 's0000001', 'a' || j, 1, '', '', jsonb_build_object('k', repeat('x', 60000)),
             timestamptz '2026-02-01Z' + j * interval '1 second'
      FROM generate_series(1, 100) AS j)sql",
             {}});
  world.Ask({R"sql(
      INSERT INTO session_errors
      SELECT 0, 's0000001', 'e' || j, 1, 1, '', '', '', repeat('x', 4000), '[]',
             jsonb_build_object('k', repeat('x', 60000)), '',
             timestamptz '2026-02-01Z' + j * interval '1 second', NULL, '', ''
      FROM generate_series(1, 100) AS j)sql",
             {}});
  world.Ask({"UPDATE sessions SET context = jsonb_build_object('k', repeat('x', 65000))", {}});
  world.Ask(
      {"UPDATE session_tasks SET progress = jsonb_build_object('k', repeat('x', 65000)), "
       "result = jsonb_build_object('k', repeat('x', 65000))",
       {}});
  auto question = FullSession(SessionId(1), 1);
  const std::vector<Result> results = world.RoundTrip(question.statements);
  const Aggregate aggregate = question.read(results);
  for (const int list : {2, 3})
    EXPECT_LE(results[list].rows(), 30) << "the database itself ends the list";
  EXPECT_LE(aggregate.session->ByteSizeLong(), kMessageBytesMax);
  EXPECT_GT(aggregate.session->files_size(), 20);
  EXPECT_GT(aggregate.session->open_errors_size(), 20);
}

TEST(ListQueries, TheFullViewOfWhatIsGoneIsItsTombstone) {
  World world(1);
  world.Ask(
      {"INSERT INTO tombstones VALUES (0, 'gone', 'default', 'flow', 'u', '2026-01-01Z', "
       "'2026-02-01Z')",
       {}});
  const Aggregate gone = world.Ask(FullSession("gone", 1));
  EXPECT_FALSE(gone.session.has_value());
  EXPECT_EQ(gone.tombstone->archive_time, At("2026-02-01T00:00:00Z"));
  const Aggregate never = world.Ask(FullSession("never", 1));
  EXPECT_FALSE(never.session.has_value());
  EXPECT_FALSE(never.tombstone.has_value());
}

// With 100,000 sessions, their tasks and some 150,000 each of errors, messages and artifacts,
// whatever is asked, no plan reads a table from end to end.
TEST(ListQueries, NoPlanScansATable) {
  World world(100'000);
  world.Ask(
      {"INSERT INTO error_patterns SELECT i % 64, 'default', 'flow', 'stage', 1, 'E' || i, i "
       "FROM generate_series(1, 20000) AS i",
       {}});
  world.Ask(
      {"SELECT set_config('enable_seqscan', 'off', false), "
       "set_config('max_parallel_workers_per_gather', '0', false)",
       {}});
  const auto plan_of = [&](const Sql& sql) {
    const Result plan = world.Ask({absl::StrCat("EXPLAIN ", sql.text), sql.params});
    std::string text;
    for (int row = 0; row < plan.rows(); ++row) absl::StrAppend(&text, plan.Text(row, 0), "\n");
    // All of error_patterns is what a summary of all namespaces is about.
    EXPECT_FALSE(absl::StrContains(text, "Seq Scan on session")) << sql.text << "\n" << text;
    return text;
  };
  const auto uses = [&](const Sql& sql, const char* index) {
    const std::string plan = plan_of(sql);
    EXPECT_TRUE(absl::StrContains(plan, index)) << sql.text << "\n" << plan;
    return plan;
  };
  // In the order of this index, and not by sorting or by joining all.
  const auto rides = [&](const Sql& sql, const char* index) {
    const std::string plan = uses(sql, index);
    for (const char* costly : {"Sort", "Hash Join", "Merge Join", "Bitmap"})
      EXPECT_FALSE(absl::StrContains(plan, costly)) << sql.text << "\n" << plan;
  };
  const KeyValues key = {absl::StrCat(absl::ToUnixMicros(At("2026-01-01T05:00:00Z"))), "s0050000"};
  const auto tasks = [](const TaskSelection& selection, const KeyValues& after, int page_size) {
    return ListPage(selection, 1, after, page_size)->statements.front();
  };
  const auto errors = [](const ErrorSelection& selection, const KeyValues& after, int page_size) {
    return ListPage(selection, 1, after, page_size)->statements.front();
  };
  const auto recoverable_of = [](const char* name) {
    return RecoverableSessions(name, "u3", {}).statements.front();
  };
  // As a young database is, before anybody has counted; and as it is later.
  for (const bool analyzed : {false, true}) {
    if (analyzed) world.Ask({"ANALYZE", {}});
    for (const char* name : {"-", "default", "none"}) {
      for (const char* filter :
           {"", "session_id = x", "session_id != x", "task_id = x", "task_type = export",
            "status = RUNNING", "status = FAILED task_type = export", "retryable = true",
            "retry_count > 2", "start_time > 2026-01-01T05:00:00Z"}) {
        plan_of(tasks(OfTasks(filter, name), KeyValues(), 50));
        plan_of(tasks(OfTasks(filter, name), key, 1000));
      }
      for (const char* filter :
           {"", "error_id = x", "category = TEMPORARY", "severity = BLOCKING resolved = false",
            "operation_stage = x", "related_file_id = x", "related_ticket_id = x", "error_code = x",
            "resolved = true", "create_time > 2026-01-01T05:00:00Z",
            "resolve_time > 2026-01-01T05:00:00Z"}) {
        for (const std::string& id : {std::string(), SessionId(50'003)}) {
          for (const bool include_deleted : {false, true}) {
            const auto selection = OfErrors(filter, id, name, include_deleted);
            plan_of(errors(selection, KeyValues(), 50));
            plan_of(errors(selection, key, 1000));
            for (const Sql& sql : ErrorSummary(selection, 1).statements) plan_of(sql);
          }
        }
      }
      for (const int page_size : {50, 1000}) {
        rides(tasks(OfTasks("", name), KeyValues(), page_size), "session_tasks_by_start");
        rides(tasks(OfTasks("", name), key, page_size), "session_tasks_by_start");
        rides(errors(OfErrors("", "", name), key, page_size), "session_errors_by_created");
      }
      plan_of(recoverable_of(name));
    }
    rides(tasks(OfTasks("status = RUNNING task_type = rare"), KeyValues(), 50),
          "session_tasks_by_status");
    const std::string recoverable = uses(recoverable_of("default"), "sessions_by_owner");
    EXPECT_FALSE(absl::StrContains(recoverable, "sessions_by_state")) << recoverable;
    EXPECT_TRUE(absl::StrContains(recoverable, "BitmapOr")) << recoverable;
    for (const int page_size : {50, 1000}) {
      rides(ListPage(SessionSelection(), 1, {}, page_size)->statements.front(),
            "sessions_by_created");
      rides(errors(OfErrors("", SessionId(50'003)), key, page_size), "session_errors_");
      for (const bool descending : {false, true}) {
        for (const int after : {0, 2}) {
          const MessageSelection selection{
              .session_id = SessionId(50'003), .after_sequence = after, .descending = descending};
          rides(ListPage(selection, 1, {}, page_size)->statements.front(), "session_messages_pkey");
        }
      }
      for (const auto kind : {SessionArtifact::KIND_UNSPECIFIED, SessionArtifact::FILE}) {
        // Of a session with a few, sorting them is as good.
        for (const KeyValues& after : {KeyValues(), key}) {
          const ArtifactSelection selection{.session_id = SessionId(50'003), .kind = kind};
          uses(ListPage(selection, 1, after, page_size)->statements.front(),
               "session_artifacts_by_created");
        }
      }
    }
    for (const Sql& sql : FullSession(SessionId(50'003), 1).statements) plan_of(sql);
    uses(ErrorById(SessionId(50'003), 1, "x").statements.front(), "session_errors_");
  }
}

}  // namespace
}  // namespace sessiond::db
