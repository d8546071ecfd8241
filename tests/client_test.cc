// The client library against a fake daemon: retries, request ids, refusals, and lists.
#include "sessiond/client.h"

#include <unistd.h>

#include <map>
#include <numeric>
#include <optional>
#include <regex>
#include <stop_token>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/cpp/steady_time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sessiond/connect.h"
#include "state_machine/refusal.h"
#include "tests/fake_session_service.h"

namespace sessiond {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

absl::Status Draining(absl::Duration retry_after = absl::ZeroDuration()) {
  return Refusal(v1::DRAINING, "This daemon is going down").RetryAfter(retry_after);
}

v1::Session SessionNamed(const std::string& id) {
  v1::Session session;
  session.set_session_id(id);
  return session;
}

v1::GetSessionRequest Get(const std::string& id) {
  v1::GetSessionRequest request;
  request.set_session_id(id);
  return request;
}

v1::PauseSessionRequest Pause(const std::string& id) {
  v1::PauseSessionRequest request;
  request.set_session_id(id);
  return request;
}

class ClientTest : public testing::Test {
 protected:
  SessionClient Client(absl::Duration timeout = absl::Seconds(10)) {
    CallOptions options{.timeout = timeout, .backoff_initial = absl::Milliseconds(1)};
    options.on_retry = [this](const absl::Status&, absl::Duration pause) {
      pauses_.push_back(pause);
    };
    return SessionClient(MakeChannel(server_.Address()), options);
  }

  FakeServer server_;
  std::vector<absl::Duration> pauses_;
};

TEST_F(ClientTest, AnswersWithTheSession) {
  const auto session = Client().GetSession(Get("s1"));
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->session_id(), "s1");
}

TEST_F(ClientTest, ARefusalTellsReasonCategoryMetadataAndDetails) {
  server_.sessions.RefuseNext(Refusal(v1::INVALID_TRANSITION, "Cannot transition")
                                  .With("from", "PAUSED")
                                  .With("allowed", "ACTIVE,STOPPED")
                                  .Violation("target_stage", "is not the next one"));
  const absl::Status status = Client().PauseSession(Pause("s1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "Cannot transition");
  EXPECT_EQ(GetReason(status), v1::INVALID_TRANSITION);
  EXPECT_EQ(GetCategory(status), "USER_FIXABLE");
  EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(status)->metadata().at("allowed"), "ACTIVE,STOPPED");
  EXPECT_EQ(GetDetail<google::rpc::BadRequest>(status)->field_violations(0).field(),
            "target_stage");
  EXPECT_FALSE(GetDetail<google::rpc::RetryInfo>(status).has_value());
}

TEST_F(ClientTest, AStatusThatNoDaemonMadeHasNoReason) {
  const absl::Status status = absl::UnavailableError("Connection refused");
  EXPECT_EQ(GetReason(status), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(GetCategory(status), "");
}

TEST_F(ClientTest, OneRequestIdIsDrawnAndKeptThroughRetries) {
  server_.sessions.RefuseNext(Draining(), 3);
  ASSERT_TRUE(Client().PauseSession(Pause("s1")).ok());
  const auto ids = server_.sessions.RequestIds();
  ASSERT_THAT(ids, SizeIs(4));
  EXPECT_FALSE(ids[0].empty());
  EXPECT_THAT(ids, ElementsAre(ids[0], ids[0], ids[0], ids[0]));
}

TEST_F(ClientTest, EveryCallDrawsAnotherRequestId) {
  ASSERT_TRUE(Client().PauseSession(Pause("s1")).ok());
  ASSERT_TRUE(Client().PauseSession(Pause("s1")).ok());
  EXPECT_NE(server_.sessions.RequestIds()[0], server_.sessions.RequestIds()[1]);
}

TEST_F(ClientTest, TheCallersRequestIdIsSentAsItIs) {
  v1::PauseSessionRequest request = Pause("s1");
  request.set_request_id("mine");
  ASSERT_TRUE(Client().PauseSession(request).ok());
  EXPECT_THAT(server_.sessions.RequestIds(), ElementsAre("mine"));
}

TEST_F(ClientTest, NothingButUnavailableIsRetried) {
  for (const auto reason : {v1::CONFLICT, v1::OVERLOADED, v1::ETAG_MISMATCH, v1::NEVER_EXISTED}) {
    server_.sessions.RefuseNext(Refusal(reason, "no"));
    EXPECT_EQ(GetReason(Client().GetSession(Get("s1")).status()), reason);
  }
  EXPECT_THAT(pauses_, IsEmpty());
}

TEST_F(ClientTest, PausesGrowAndRetryInfoMakesThemLonger) {
  server_.sessions.RefuseNext(Draining(), 4);
  server_.sessions.RefuseNext(Draining(absl::Milliseconds(90)));
  ASSERT_TRUE(Client().GetSession(Get("s1")).ok());
  ASSERT_THAT(pauses_, SizeIs(5));
  EXPECT_GT(pauses_[2], pauses_[0]);  // Four times as long, less half of it at most.
  EXPECT_LT(pauses_[3], absl::Milliseconds(90));
  EXPECT_EQ(pauses_[4], absl::Milliseconds(90));
}

TEST_F(ClientTest, RetriesEndWithTheDeadline) {
  server_.sessions.RefuseNext(Draining(), 1'000'000);
  const absl::Status status = Client(absl::Seconds(5)).GetSession(Get("s1")).status();
  // The last attempt may have been answered or not.
  EXPECT_THAT(status.code(),
              AnyOf(absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(pauses_, Not(IsEmpty()));
  EXPECT_LT(std::accumulate(pauses_.begin(), pauses_.end(), absl::ZeroDuration()),
            absl::Seconds(5));
}

TEST_F(ClientTest, APauseBeyondTheDeadlineIsNotBegun) {
  server_.sessions.RefuseNext(Draining(absl::Seconds(60)));
  EXPECT_EQ(GetReason(Client().GetSession(Get("s1")).status()), v1::DRAINING);
  EXPECT_THAT(pauses_, IsEmpty());
}

TEST(Client, ADaemonThatComesLateIsFound) {
  const std::string address =
      absl::StrCat("unix:", testing::TempDir(), "sessiond_client_test.", getpid());
  std::unique_ptr<FakeServer> server;
  CallOptions options;
  options.on_retry = [&](const absl::Status&, absl::Duration) {
    if (server == nullptr) server = std::make_unique<FakeServer>(address);
  };
  const auto session = SessionClient(MakeChannel(address), options).GetSession(Get("s1"));
  EXPECT_TRUE(session.ok()) << session.status();
  EXPECT_NE(server, nullptr);
}

TEST(Client, WithoutADaemonTheLastAnswerSaysWhy) {
  const std::string address =
      absl::StrCat("unix:", testing::TempDir(), "sessiond_nobody.", getpid());
  // Tried again once, two seconds before the deadline at the latest: the next pause would be too
  // long.
  int retries = 0;
  const CallOptions options{.timeout = absl::Seconds(6),
                            .backoff_initial = absl::Seconds(4),
                            .backoff_max = absl::Seconds(8),
                            .on_retry = [&](const absl::Status&, absl::Duration) { ++retries; }};
  const auto session = SessionClient(MakeChannel(address), options).GetSession(Get("s1"));
  EXPECT_EQ(retries, 1);
  EXPECT_EQ(session.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(session.status().message()), HasSubstr("failed to connect"));
}

TEST_F(ClientTest, AListIsReadPageAfterPageAndEmptyPagesArePassedOver) {
  server_.sessions.HoldPages({{SessionNamed("a"), SessionNamed("b")}, {}, {SessionNamed("c")}, {}});
  std::vector<std::string> ids;
  for (const auto& session : Client().ListSessions({})) {
    ASSERT_TRUE(session.ok()) << session.status();
    ids.push_back(session->session_id());
  }
  EXPECT_THAT(ids, ElementsAre("a", "b", "c"));
  EXPECT_THAT(server_.sessions.Requests(), SizeIs(4));
}

TEST_F(ClientTest, AListThatBreaksOffEndsWithTheRefusal) {
  server_.sessions.HoldPages({{SessionNamed("a")}, {SessionNamed("b")}});
  std::vector<std::string> seen;
  for (const auto& session : Client().ListSessions({})) {
    if (session.ok()) server_.sessions.RefuseNext(Refusal(v1::INVALID_PAGE_TOKEN, "Unknown token"));
    seen.push_back(session.ok() ? session->session_id() : std::string(session.status().message()));
  }
  EXPECT_THAT(seen, ElementsAre("a", "Unknown token"));
}

TEST_F(ClientTest, AnEmptyListIsEmpty) {
  auto range = Client().ListSessions({});
  EXPECT_TRUE(range.begin() == range.end());
}

// ---- the other services

TEST_F(ClientTest, EveryServiceHasItsClient) {
  const auto channel = MakeChannel(server_.Address());
  v1::SessionTask task;
  task.set_task_id("t1");
  server_.calls.Hold(task);
  EXPECT_EQ(TaskClient(channel).StartTask({})->task_id(), "t1");
  EXPECT_TRUE(ErrorClient(channel).RecordError({}).ok());
  EXPECT_TRUE(MessageClient(channel).AppendMessages({}).ok());
  EXPECT_TRUE(ArtifactClient(channel).DeleteArtifact({}).ok());
  EXPECT_TRUE(WorkflowClient(channel).GetWorkflow({}).ok());
  EXPECT_TRUE(AdminClient(channel).GetServerInfo({}).ok());
  const auto ids = server_.calls.RequestIds();
  ASSERT_THAT(ids, SizeIs(4));  // Of the changes.
  for (const std::string& id : ids) EXPECT_FALSE(id.empty());
}

TEST_F(ClientTest, TheirListsAreReadPageAfterPage) {
  v1::ListTasksResponse page;
  page.add_tasks()->set_task_id("a");
  page.set_next_page_token("2");
  server_.calls.Hold(page);
  page.mutable_tasks(0)->set_task_id("b");
  page.clear_next_page_token();
  server_.calls.Hold(page);
  std::vector<std::string> ids;
  for (const auto& task : TaskClient(MakeChannel(server_.Address())).ListTasks({})) {
    ids.push_back(task->task_id());
  }
  EXPECT_THAT(ids, ElementsAre("a", "b"));
  EXPECT_EQ(server_.calls.Requests()[1], "ListTasks page_token: \"2\"");
}

// ---- import

class ImportTest : public ClientTest {
 protected:
  // Imports so many sessions, numbered from 1.
  absl::Status Import(int count, absl::Duration timeout = absl::Seconds(10)) {
    CallOptions options{.timeout = timeout, .backoff_initial = absl::Milliseconds(1)};
    return AdminClient(MakeChannel(server_.Address()), options)
        .ImportSessions(
            [this, count]() -> absl::StatusOr<std::optional<v1::ImportSessionsRequest>> {
              if (asked_for_ == count) return std::nullopt;
              if (++asked_for_ == broken_at_) return absl::DataLossError("The source is broken");
              v1::ImportSessionsRequest request;
              request.set_line(asked_for_);
              request.mutable_session()->set_session_id(absl::StrCat("s", asked_for_));
              return request;
            },
            [this](const v1::ImportSessionsResponse& response) {
              lines_.push_back(response.line());
              ++results_[response.result()];
            });
  }

  int broken_at_ = 0;
  int asked_for_ = 0;
  std::vector<int> lines_;
  std::map<v1::ImportSessionsResponse::Result, int> results_;
};

std::vector<int> OneTo(int last) {
  std::vector<int> numbers(last);
  std::iota(numbers.begin(), numbers.end(), 1);
  return numbers;
}

TEST_F(ImportTest, EverySessionIsAnsweredInItsOrder) {
  ASSERT_TRUE(Import(5000).ok());
  EXPECT_EQ(lines_, OneTo(5000));
  EXPECT_EQ(results_[v1::ImportSessionsResponse::IMPORTED], 5000);
}

TEST_F(ImportTest, NothingIsNothing) {
  EXPECT_TRUE(Import(0).ok());
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(ImportTest, WhatALostConnectionLeftUnansweredIsSentAgain) {
  for (const int answers : {0, 1, 255, 256, 700}) server_.admin.BreakAfter(answers, Draining());
  const absl::Status status = Import(3000);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(lines_, OneTo(3000));
  EXPECT_EQ(server_.admin.Imported().size(), 3000);
  // What was done when the connection broke.
  EXPECT_GE(results_[v1::ImportSessionsResponse::ALREADY_THERE], 5);
}

TEST_F(ImportTest, WhatPassesByItselfIsSentAgain) {
  server_.admin.RefuseNextSessions("LOCK_TIMEOUT", 300);
  ASSERT_TRUE(Import(1000).ok());
  EXPECT_THAT(lines_, testing::UnorderedElementsAreArray(OneTo(1000)));
  EXPECT_EQ(results_[v1::ImportSessionsResponse::IMPORTED], 1000);
  EXPECT_EQ(server_.admin.streams(), 1);
}

TEST_F(ImportTest, PatienceEndsWithTheTimeoutWhenNothingMoves) {
  server_.admin.RefuseNextSessions("DATABASE_UNAVAILABLE", 1'000'000);
  const Stopwatch watch;
  const absl::Status status = Import(1000, absl::Milliseconds(200));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("DATABASE_UNAVAILABLE"));
  EXPECT_LT(watch.elapsed(), absl::Seconds(20));
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(ImportTest, ARefusalOfTheWholeEndsItAndTheSourceIsNotReadFarAhead) {
  server_.admin.BreakAfter(0, Refusal(v1::SCHEMA_MISMATCH, "Run: sessiond migrate up"));
  EXPECT_EQ(GetReason(Import(5000)), v1::SCHEMA_MISMATCH);
  EXPECT_LE(asked_for_, 257);
  EXPECT_EQ(server_.admin.streams(), 1);
}

TEST_F(ImportTest, ABrokenSourceEndsItWhenAllBeforeIsAnswered) {
  broken_at_ = 401;
  EXPECT_EQ(Import(1000).message(), "The source is broken");
  EXPECT_EQ(lines_, OneTo(400));
}

TEST_F(ImportTest, CloseEndsItWhileItsSourceIsSilent) {
  const auto client =
      sessiond::Client::Connect({.server = server_.Address(), .credentials = Credentials()});
  ASSERT_TRUE(client.ok()) << client.status();
  std::thread closing([&] {
    server_.admin.AwaitSessions(1);
    client->Close();
  });
  absl::Notification given_up;
  const absl::Status status = client->admin().ImportSessions(
      [this, &given_up]() -> absl::StatusOr<std::optional<v1::ImportSessionsRequest>> {
        if (++asked_for_ == 1) return v1::ImportSessionsRequest();
        given_up.WaitForNotificationWithTimeout(absl::Seconds(20));
        return std::nullopt;
      },
      [](const v1::ImportSessionsResponse&) {}, [&given_up] { given_up.Notify(); });
  closing.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(given_up.HasBeenNotified());
}

TEST_F(ImportTest, AStopEndsThePauseBeforeTheNextStream) {
  server_.admin.BreakAfter(0, Draining(absl::Seconds(20)));
  std::stop_source stopping;
  const AdminClient client(
      MakeChannel(server_.Address()),
      {.timeout = absl::Minutes(5),
       .on_retry = [&](const absl::Status&, absl::Duration) { stopping.request_stop(); },
       .stop = stopping.get_token()});
  const absl::Status status = client.ImportSessions(
      [this]() -> absl::StatusOr<std::optional<v1::ImportSessionsRequest>> {
        if (++asked_for_ == 1) return v1::ImportSessionsRequest();
        return std::nullopt;
      },
      [](const v1::ImportSessionsResponse&) {});
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(server_.admin.streams(), 1);
}

TEST(Client, RequestIdsAreUuidsOfVersion4) {
  const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(std::regex_match(NewRequestId(), uuid));
}

}  // namespace
}  // namespace sessiond
