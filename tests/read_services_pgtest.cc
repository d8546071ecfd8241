// The reads of all services as their callers meet them: what is there, why something is not, pages
// that belong to their query, and the fields derived for readers.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/rpc/artifact_service.h"
#include "server/rpc/error_service.h"
#include "server/rpc/message_service.h"
#include "server/rpc/session_service.h"
#include "server/rpc/task_service.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"
#include "tests/store_fixture.h"

namespace sessiond::rpc {
namespace {

constexpr char kLive[] = "00000000-0000-7000-8000-000000000001";
constexpr char kEmpty[] = "00000000-0000-7000-8000-000000000002";
constexpr char kDeleted[] = "00000000-0000-7000-8000-000000000003";
constexpr char kArchived[] = "00000000-0000-7000-8000-000000000004";
constexpr char kNever[] = "00000000-0000-7000-8000-000000000005";

CallInfo Call() { return {.asker = TestDeadline()}; }

// Some sessions, put there behind everybody's back, and all services above them.
class Services {
 public:
  TestDatabase database;
  std::unique_ptr<db::SessionStore> store = db::OpenStore(database);
  Metrics metrics{std::vector<std::string>{"sessiond.v1.SessionService"}};
  Journal journal{metrics};
  SessionService sessions{*store, journal};
  TaskService tasks{*store};
  ErrorService errors{*store};
  MessageService messages{*store};
  ArtifactService artifacts{*store};

  Services() {
    for (const char* id : {kLive, kEmpty, kDeleted}) AddSession(id);
    Execute(absl::StrCat("UPDATE sessions SET state = 5, deleted_at = '2026-02-02Z' WHERE id = '",
                         kDeleted, "'"));
    for (const char* id : {kLive, kDeleted}) FillSession(id);
    Execute(absl::StrCat("INSERT INTO tombstones VALUES (", PartitionOf(kArchived), ", '",
                         kArchived,
                         "', 'default', 'ticket_export', 'u1', '2026-01-01Z', "
                         "'2026-02-03Z')"));
  }

  void Execute(const std::string& sql) {
    const absl::Status done = database.Connect()->Execute(sql, TestDeadline());
    ASSERT_TRUE(done.ok()) << done << "\n" << sql;
  }

 private:
  int PartitionOf(const std::string& id) const {
    return sessiond::PartitionOf(id, store->partition_count());
  }

  void AddSession(const std::string& id) {
    Execute(absl::StrCat(R"sql(
        INSERT INTO sessions (partition, id, namespace, workflow, workflow_revision, owner_id,
                              owner_display_name, state, stage, status, fail_reason, context,
                              counters, refs, labels, hold, created_at, updated_at,
                              recover_before_at, sequence, revision)
        VALUES ()sql",
                         PartitionOf(id), ", '", id, R"sql(', 'default', 'ticket_export', 1, 'u1',
                '', 2, 'processing', 'active', '', '{}', '{}', '{}', '{}', false, now(), now(),
                now() + interval '7 days', 7, 7))sql"));
  }

  // A failed task, three errors, three messages and three artifacts.
  void FillSession(const std::string& id) {
    const std::string key = absl::StrCat(PartitionOf(id), ", '", id, "'");
    Execute(absl::StrCat("INSERT INTO session_tasks VALUES (", key, R"sql(, 'processing', 'task', 3,
        '2026-01-01 00:00:00Z', NULL, '2026-01-01 00:01:30Z', NULL, 1, 3, 0, '2026-01-01Z'))sql"));
    Execute(absl::StrCat("INSERT INTO session_errors SELECT ", key, R"sql(, 'error-' || j, 1, 1,
        'processing', '', '', 'It broke', '[]', '{}', '', now() - j * interval '1 hour',
        CASE j WHEN 3 THEN now() END, '', '' FROM generate_series(1, 3) AS j)sql"));
    Execute(absl::StrCat("INSERT INTO session_messages SELECT ", key, R"sql(, j, 'm' || j, false,
        'question', 'text', '', '', '{}', now() FROM generate_series(1, 3) AS j)sql"));
    Execute(absl::StrCat("INSERT INTO session_artifacts SELECT ", key, R"sql(, 'a' || j, 1, '', '',
        '{}', now() + j * interval '1 second' FROM generate_series(1, 3) AS j)sql"));
  }
};

// Every read of one session, by how it ends.
std::vector<std::pair<std::string, absl::Status>> EveryRead(Services& services,
                                                            const std::string& session_id,
                                                            bool include_deleted) {
  std::vector<std::pair<std::string, absl::Status>> ends;
  const auto read = [&](const char* name, auto& service, auto method, auto request) {
    request.set_session_id(session_id);
    request.set_include_deleted(include_deleted);
    ends.emplace_back(name, Wait((service.*method)(Call(), request)).status());
  };
  v1::GetSessionRequest full;
  full.set_view(v1::GetSessionRequest::FULL);
  v1::GetErrorRequest error;
  error.set_error_id("error-1");
  read("GetSession", services.sessions, &SessionService::GetSession, v1::GetSessionRequest());
  read("GetSession, FULL", services.sessions, &SessionService::GetSession, full);
  read("ListSessionEvents", services.sessions, &SessionService::ListSessionEvents,
       v1::ListSessionEventsRequest());
  read("GetTask", services.tasks, &TaskService::GetTask, v1::GetTaskRequest());
  read("GetError", services.errors, &ErrorService::GetError, error);
  read("ListErrors", services.errors, &ErrorService::ListErrors, v1::ListErrorsRequest());
  read("SummarizeErrors", services.errors, &ErrorService::SummarizeErrors,
       v1::SummarizeErrorsRequest());
  read("ListMessages", services.messages, &MessageService::ListMessages, v1::ListMessagesRequest());
  read("ListArtifacts", services.artifacts, &ArtifactService::ListArtifacts,
       v1::ListArtifactsRequest());
  return ends;
}

TEST(ReadServices, EveryReadSaysWhyASessionIsNotThere) {
  Services services;
  for (const bool include_deleted : {false, true}) {
    for (const auto& [name, status] : EveryRead(services, kLive, include_deleted))
      EXPECT_TRUE(status.ok()) << name << ": " << status;
    for (const auto& [name, status] : EveryRead(services, kNever, include_deleted))
      EXPECT_EQ(ReasonOf(status), v1::NEVER_EXISTED) << name << ": " << status;
    for (const auto& [name, status] : EveryRead(services, kArchived, include_deleted))
      EXPECT_EQ(ReasonOf(status), v1::ARCHIVED) << name << ": " << status;
    for (const auto& [name, status] : EveryRead(services, kDeleted, include_deleted)) {
      EXPECT_EQ(ReasonOf(status), include_deleted ? v1::ERROR_REASON_UNSPECIFIED : v1::DELETED)
          << name << ": " << status;
    }
  }
}

TEST(ReadServices, WhatASessionHasNoneOfIsAnEmptyPageOrNotFound) {
  Services services;
  for (const auto& [name, status] : EveryRead(services, kEmpty, false)) {
    if (name == "GetTask") {
      EXPECT_EQ(ReasonOf(status), v1::TASK_NOT_FOUND) << status;
      EXPECT_EQ(ErrorInfoOf(status).metadata().at("session_id"), kEmpty);
    } else if (name == "GetError") {
      EXPECT_EQ(ReasonOf(status), v1::ERROR_NOT_FOUND) << status;
      EXPECT_EQ(ErrorInfoOf(status).metadata().at("error_id"), "error-1");
    } else {
      EXPECT_TRUE(status.ok()) << name << ": " << status;
    }
  }
  v1::ListMessagesRequest request;
  request.set_session_id(kEmpty);
  const auto page = Wait(services.messages.ListMessages(Call(), request));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->messages_size(), 0);
  EXPECT_EQ(page->next_page_token(), "");
}

TEST(ReadServices, ALookUpAnswersInTheOrderAskedHoweverManyAreReadAtATime) {
  Services services;
  v1::LookupSessionsRequest request;
  request.add_session_ids(kLive);
  // More than are read at a time.
  for (int i = 0; i < 300; ++i)
    request.add_session_ids(absl::StrFormat("00000000-0000-7000-9000-%012d", i * 7919 % 300));
  for (const char* id : {"no id", kArchived, kDeleted, kEmpty, kLive}) request.add_session_ids(id);
  const auto found = Wait(services.sessions.LookupSessions(Call(), request));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->results_size(), request.session_ids_size());
  for (int i = 0; i < found->results_size(); ++i) {
    const v1::SessionLookup& result = found->results(i);
    const std::string& id = request.session_ids(i);
    ASSERT_EQ(result.session_id(), id);
    const bool is_there = id == kLive || id == kEmpty;
    EXPECT_EQ(result.found(), is_there) << id;
    EXPECT_EQ(result.session().session_id(), is_there ? id : "");
  }
  const auto reason = [&](int from_end) {
    return found->results(found->results_size() - from_end).reason();
  };
  EXPECT_EQ(reason(5), v1::SessionLookup::INVALID_FORMAT);
  EXPECT_EQ(reason(4), v1::SessionLookup::ARCHIVED);
  EXPECT_EQ(reason(3), v1::SessionLookup::DELETED);
}

TEST(ReadServices, ALookUpOfMoreThanAReplyHoldsIsRefused) {
  Services services;
  services.Execute(absl::StrCat(
      "UPDATE sessions SET context = jsonb_build_object('k', repeat('x', 60000)) WHERE id = '",
      kLive, "'"));
  v1::LookupSessionsRequest request;
  for (int i = 0; i < 69; ++i) request.add_session_ids(kLive);
  auto found = Wait(services.sessions.LookupSessions(Call(), request));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->results_size(), 69);
  // It stops where it is clear, long before it has made a thousand.
  for (int i = 0; i < 900; ++i) request.add_session_ids(kLive);
  found = Wait(services.sessions.LookupSessions(Call(), request));
  EXPECT_EQ(ReasonOf(found.status()), v1::PAYLOAD_TOO_LARGE) << found.status();
  int64_t size = 0;
  ASSERT_TRUE(absl::SimpleAtoi(ErrorInfoOf(found.status()).metadata().at("size"), &size));
  EXPECT_LT(size, 4'300'000);
}

TEST(ReadServices, ReadersGetWhatIsDerivedForThem) {
  Services services;
  v1::GetTaskRequest get_task;
  get_task.set_session_id(kLive);
  const auto task = Wait(services.tasks.GetTask(Call(), get_task));
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_TRUE(task->retryable());
  EXPECT_EQ(FromProto(task->duration()), absl::Seconds(90));

  const auto tasks = Wait(services.tasks.ListTasks(Call(), {}));
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_EQ(tasks->tasks_size(), 1) << "the deleted session's is not told";
  EXPECT_TRUE(tasks->tasks(0).retryable());
  EXPECT_EQ(FromProto(tasks->tasks(0).duration()), absl::Seconds(90));

  v1::GetErrorRequest get_error;
  get_error.set_session_id(kLive);
  get_error.set_error_id("error-2");
  const auto error = Wait(services.errors.GetError(Call(), get_error));
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_GE(FromProto(error->age()), absl::Hours(2));

  v1::GetSessionRequest get_session;
  get_session.set_session_id(kLive);
  get_session.set_view(v1::GetSessionRequest::FULL);
  const auto full = Wait(services.sessions.GetSession(Call(), get_session));
  ASSERT_TRUE(full.ok()) << full.status();
  v1::Session session;
  ASSERT_TRUE(session.ParseFromString(*full->bytes));
  EXPECT_EQ(session.next_stage(), "review");
  EXPECT_EQ(session.etag(), "r7");
  EXPECT_TRUE(session.recoverable());
  EXPECT_TRUE(session.current_task().retryable());
  ASSERT_EQ(session.files_size(), 3);
  EXPECT_EQ(session.files(0).artifact_id(), "a3");
  ASSERT_EQ(session.open_errors_size(), 2);
  EXPECT_GE(FromProto(session.open_errors(1).age()), absl::Hours(2));
  get_session.set_view(v1::GetSessionRequest::BASIC);
  const auto basic = Wait(services.sessions.GetSession(Call(), get_session));
  ASSERT_TRUE(basic.ok());
  v1::Session shorter;
  ASSERT_TRUE(shorter.ParseFromString(*basic->bytes));
  v1::Session without = session;
  without.clear_files();
  without.clear_open_errors();
  EXPECT_EQ(shorter.DebugString(), without.DebugString());

  v1::ListRecoverableSessionsRequest recoverable;
  recoverable.set_owner_id("u1");
  const auto found = Wait(services.sessions.ListRecoverableSessions(Call(), recoverable));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->sessions_size(), 2);
  EXPECT_TRUE(found->sessions(0).recoverable());
  EXPECT_EQ(found->sessions(0).etag(), "r7");
}

// Takes every page of one row.
template <class Request, class Reply, class Service>
void ExpectPages(Service& service, Answer<Reply> (Service::*list)(CallInfo, Request),
                 Request request, int (Reply::*size)() const, int expected) {
  request.set_page_size(1);
  int seen = 0;
  do {
    const auto page = Wait((service.*list)(Call(), request));
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_LE((*page.*size)(), 1);
    seen += (*page.*size)();
    ASSERT_LE(seen, expected) << request.GetTypeName();
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, expected) << request.GetTypeName();
}

template <class Request>
Request Of(const std::string& session_id) {
  Request request;
  request.set_session_id(session_id);
  return request;
}

TEST(ReadServices, TokensTurnThePagesOfEveryList) {
  Services services;
  ExpectPages(services.errors, &ErrorService::ListErrors, v1::ListErrorsRequest(),
              &v1::ListErrorsResponse::errors_size, 3);
  ExpectPages(services.errors, &ErrorService::ListErrors, Of<v1::ListErrorsRequest>(kLive),
              &v1::ListErrorsResponse::errors_size, 3);
  ExpectPages(services.tasks, &TaskService::ListTasks, v1::ListTasksRequest(),
              &v1::ListTasksResponse::tasks_size, 1);
  ExpectPages(services.artifacts, &ArtifactService::ListArtifacts,
              Of<v1::ListArtifactsRequest>(kLive), &v1::ListArtifactsResponse::artifacts_size, 3);
  ExpectPages(services.sessions, &SessionService::ListSessions, v1::ListSessionsRequest(),
              &v1::ListSessionsResponse::sessions_size, 2);
  auto messages = Of<v1::ListMessagesRequest>(kLive);
  ExpectPages(services.messages, &MessageService::ListMessages, messages,
              &v1::ListMessagesResponse::messages_size, 3);
  messages.set_order_by("sequence desc");
  messages.set_after_sequence(3);
  ExpectPages(services.messages, &MessageService::ListMessages, messages,
              &v1::ListMessagesResponse::messages_size, 2);
}

TEST(ReadServices, ATokenBelongsToItsQuery) {
  Services services;
  auto errors = Of<v1::ListErrorsRequest>(kLive);
  errors.set_page_size(1);
  const auto page = Wait(services.errors.ListErrors(Call(), errors));
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_NE(page->next_page_token(), "");

  const auto expect_refused = [](const absl::Status& status) {
    EXPECT_EQ(ReasonOf(status), v1::INVALID_PAGE_TOKEN) << status;
  };
  const std::string token = page->next_page_token();
  v1::ListErrorsRequest others[4];
  for (auto& other : others) {
    other = errors;
    other.set_page_token(token);
  }
  others[0].clear_session_id();
  others[1].set_filter("resolved = false");
  others[2].set_include_deleted(true);
  others[3].set_namespace_("other");
  for (const auto& other : others)
    expect_refused(Wait(services.errors.ListErrors(Call(), other)).status());
  auto artifacts = Of<v1::ListArtifactsRequest>(kLive);
  artifacts.set_page_token(token);
  expect_refused(Wait(services.artifacts.ListArtifacts(Call(), artifacts)).status());
  auto messages = Of<v1::ListMessagesRequest>(kLive);
  messages.set_page_token(token);
  expect_refused(Wait(services.messages.ListMessages(Call(), messages)).status());
}

TEST(ReadServices, WhatIsNotUnderstoodIsRefused) {
  Services services;
  v1::ListTasksRequest tasks;
  tasks.set_filter("severity = BLOCKING");
  EXPECT_EQ(ReasonOf(Wait(services.tasks.ListTasks(Call(), tasks)).status()), v1::INVALID_FILTER);
  v1::ListErrorsRequest errors;
  errors.set_filter("status = RUNNING");
  EXPECT_EQ(ReasonOf(Wait(services.errors.ListErrors(Call(), errors)).status()),
            v1::INVALID_FILTER);
  v1::SummarizeErrorsRequest summary;
  summary.set_filter("status = RUNNING");
  EXPECT_EQ(ReasonOf(Wait(services.errors.SummarizeErrors(Call(), summary)).status()),
            v1::INVALID_FILTER);
  auto messages = Of<v1::ListMessagesRequest>(kLive);
  messages.set_order_by("create_time");
  EXPECT_EQ(ReasonOf(Wait(services.messages.ListMessages(Call(), messages)).status()),
            v1::INVALID_FILTER);
}

TEST(ReadServices, ASummaryIsOfASessionOrOfItsNamespace) {
  Services services;
  for (const std::string& id : {std::string(), std::string(kLive)}) {
    const auto summary =
        Wait(services.errors.SummarizeErrors(Call(), Of<v1::SummarizeErrorsRequest>(id)));
    ASSERT_TRUE(summary.ok()) << summary.status();
    EXPECT_EQ(summary->total(), 3);
    EXPECT_EQ(summary->open_total(), 2);
    ASSERT_EQ(summary->patterns_size(), 1);
    EXPECT_EQ(summary->patterns(0).workflow(), "ticket_export");
    EXPECT_EQ(summary->patterns(0).count(), 3);
    EXPECT_EQ(summary->patterns(0).session_count(), 1);
  }
}

// A revision that another daemon made while this one runs.
TEST(ReadServices, AListOfWhatAnotherDaemonsWorkflowMadeIsPresentedToo) {
  Services services;
  services.Execute(
      "INSERT INTO workflows SELECT name, 2, jsonb_set(definition, '{revision}', '2') FROM "
      "workflows "
      "WHERE name = 'ticket_export'");
  services.Execute("UPDATE sessions SET workflow_revision = 2");
  const auto page = Wait(services.sessions.ListSessions(Call(), {}));
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->sessions_size(), 2);
  for (const v1::Session& session : page->sessions()) EXPECT_EQ(session.next_stage(), "review");
}

}  // namespace
}  // namespace sessiond::rpc
