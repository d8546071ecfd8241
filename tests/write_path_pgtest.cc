// The write path below sessions, on a real PostgreSQL: what a repeated request answers, what two
// commands for one session make of each other in one group, and what is left of a session that
// ended.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "db/session_store.h"
#include "state_machine/timestamps.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;
using testing::IsEmpty;
using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionTask;

constexpr char kRun[] = "0192f3c4-0000-7000-8000-000000000001";
constexpr char kNextRun[] = "0192f3c4-0000-7000-8000-000000000002";
constexpr char kMessage[] = "0192f3c4-0000-7000-8000-00000000000a";
constexpr char kCounter[] = "current_question_number";

void OneLane(SessionStoreOptions& options) {
  options.workflows.push_back(ShortLivedDefinition());
  options.lanes = 1;
  options.settings.lock_timeout = options.settings.lock_moment = absl::Seconds(20);
}

Outcome Must(SessionStore& store, const Command& command) {
  auto outcome = SubmitAndWait(store, command);
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? *std::move(outcome) : Outcome();
}

v1::ErrorReason ReasonFor(SessionStore& store, const Command& command) {
  return ReasonOf(SubmitAndWait(store, command).status());
}

// A session at this stage.
std::string AtStage(SessionStore& store, const std::string& stage,
                    const std::string& workflow = "ticket_export") {
  v1::CreateSessionRequest creation = NewSession(workflow);
  (*creation.mutable_session()->mutable_context()->mutable_fields())["jira_project_key"]
      .set_string_value("KEY");
  Session session = NewSessionIn(store, workflow, &creation);
  while (session.stage() != stage)
    session = Must(store, Advance(session.session_id(), session.next_stage())).session;
  return session.session_id();
}

std::string Count(const TestDatabase& database, const std::string& table,
                  const std::string& condition = "true") {
  return database.Ask(absl::StrCat("SELECT count(*)::text FROM ", table, " WHERE ", condition));
}

// What commands become that meet in one group, in this order.
std::vector<absl::StatusOr<Outcome>> InOneGroup(const TestDatabase& database, SessionStore& store,
                                                const std::vector<Command>& commands) {
  PendingList pending;
  {
    Stall stall(database, store);
    for (const Command& command : commands)
      pending.push_back(std::make_unique<Pending>(store, command));
  }
  std::vector<absl::StatusOr<Outcome>> outcomes;
  for (const auto& one : pending) outcomes.push_back(one->Wait());
  return outcomes;
}

void ExpectAll(const std::vector<absl::StatusOr<Outcome>>& outcomes) {
  for (const auto& outcome : outcomes) EXPECT_TRUE(outcome.ok()) << outcome.status();
}

SessionError ErrorRow(const TestDatabase& database, const std::string& error_id) {
  SessionError error;
  const std::string where = absl::StrCat(" FROM session_errors WHERE error_id = '", error_id, "'");
  error.set_related_file_id(database.Ask(absl::StrCat("SELECT related_file_id", where)));
  error.set_related_ticket_id(database.Ask(absl::StrCat("SELECT related_ticket_id", where)));
  error.set_resolution(database.Ask(absl::StrCat("SELECT resolution", where)));
  error.set_resolver(database.Ask(absl::StrCat("SELECT resolver", where)));
  return error;
}

// -----------------------------------------------------------------------------------------------
// repeated requests

// A session in the middle of things, and one command of every kind that it accepts, each with what
// it needs done before.
struct Repeatable {
  const char* name;
  std::function<Command(SessionStore&, std::string*)> make;
};

const std::vector<Repeatable>& Repeatables() {
  static const auto& all = *new std::vector<Repeatable>{
      {"StartTask",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         return StartTask(*id, "processing");
       }},
      {"StartTask with a stage",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "upload");
         return StartTask(*id, "processing", kRun, "processing");
       }},
      {"ReportTaskProgress",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         Must(store, StartTask(*id, "processing", kRun));
         return Progress(*id, kRun, 0.5);
       }},
      {"CompleteTask",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         Must(store, StartTask(*id, "processing", kRun));
         return CompleteTask(*id, kRun, "review");
       }},
      {"FailTask",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         Must(store, StartTask(*id, "processing", kRun));
         const SessionError error = AnError(SessionError::BLOCKING);
         return FailTask(*id, kRun, &error);
       }},
      {"CancelTask",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         Must(store, StartTask(*id, "processing", kRun));
         return CancelTask(*id, kRun);
       }},
      {"RetryTask",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         Must(store, StartTask(*id, "processing", kRun));
         Must(store, FailTask(*id, kRun));
         return RetryTask(*id, kNextRun);
       }},
      {"RecordError",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         return RecordError(*id, AnError(SessionError::BLOCKING));
       }},
      {"ResolveError",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "processing");
         const auto error = Must(store, RecordError(*id, AnError(SessionError::BLOCKING))).errors;
         return ResolveError(*id, error.front().error_id());
       }},
      {"AppendMessages",
       [](SessionStore& store, std::string* id) {
         *id = NewSessionIn(store, "interview").session_id();
         Must(store, Append(*id, "answer"));
         return Append(*id, "question", 3, kMessage);
       }},
      {"AddArtifacts",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "upload");
         return AddArtifacts(
             *id, {AnArtifact("f1"), AnArtifact(""), AnArtifact("t1", SessionArtifact::TICKET)});
       }},
      {"DeleteArtifact",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "upload");
         Must(store, AddArtifacts(*id, {AnArtifact("f1")}));
         return DeleteArtifact(*id, "f1");
       }},
      {"RecoverSession",
       [](SessionStore& store, std::string* id) {
         *id = AtStage(store, "upload");
         return About<v1::RecoverSessionRequest>(*id);
       }},
  };
  return all;
}

// What both name is the same.
void ExpectSameNamed(const Outcome& first, const Outcome& again) {
  EXPECT_THAT(again.events, IsEmpty());
  EXPECT_EQ(again.session.session_id(), first.session.session_id());
  EXPECT_EQ(again.session.current_task().task_id(), first.session.current_task().task_id());
  EXPECT_EQ(again.first_sequence, first.first_sequence);
  EXPECT_EQ(again.last_sequence, first.last_sequence);
  ASSERT_EQ(again.artifacts.size(), first.artifacts.size());
  for (std::size_t i = 0; i < first.artifacts.size(); ++i)
    EXPECT_TRUE(MessageDifferencer::Equals(again.artifacts[i], first.artifacts[i])) << i;
}

TEST(Repeated, RequestOfEveryKindHasOneEffectAndNamesTheSame) {
  TestDatabase database;
  const auto store = OpenStore(database, OneLane);
  for (const Repeatable& repeatable : Repeatables()) {
    for (const bool in_one_group : {false, true}) {
      SCOPED_TRACE(absl::StrCat(repeatable.name, in_one_group ? " in one group" : " later"));
      std::string id;
      const Command command = WithRequestId(repeatable.make(*store, &id), "once");
      absl::StatusOr<Outcome> first, again;
      if (in_one_group) {
        const auto outcomes = InOneGroup(database, *store, {command, command});
        first = outcomes[0];
        again = outcomes[1];
      } else {
        first = SubmitAndWait(*store, command);
        // What was done since shows in the answer.
        Must(*store, SetLabel(id, "since", "then"));
        again = SubmitAndWait(*store, command);
      }
      ASSERT_TRUE(first.ok()) << first.status();
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_GE(first->events.size(), 1u);
      ExpectSameNamed(*first, *again);
      // FailTask answers with its task; what it recorded is not named again.
      if (std::string(repeatable.name) != "FailTask") {
        ASSERT_EQ(again->errors.size(), first->errors.size());
        for (std::size_t i = 0; i < first->errors.size(); ++i)
          EXPECT_EQ(again->errors[i].error_id(), first->errors[i].error_id());
      }
      EXPECT_EQ(again->session.labels().count("since"), in_one_group ? 0u : 1u);
      // Another payload, or another method.
      Command other = command;
      std::visit(
          [](auto& request) {
            if constexpr (requires { request.set_reason(""); }) request.set_reason("another");
          },
          other.request);
      EXPECT_EQ(ReasonFor(*store, other), v1::REQUEST_ID_REUSED);
      EXPECT_EQ(ReasonFor(*store, WithRequestId(About<v1::PauseSessionRequest>(id), "once")),
                v1::REQUEST_ID_REUSED);
    }
  }
  ExpectSound(database);
}

TEST(Repeated, RequestsAreAnsweredBeforeStateEtagAndTaskAreLookedAt) {
  TestDatabase database;
  const auto store = OpenStore(database);
  for (const Repeatable& repeatable : Repeatables()) {
    SCOPED_TRACE(repeatable.name);
    std::string id;
    const Command command = WithRequestId(repeatable.make(*store, &id), "once");
    Must(*store, command);
    Must(*store, About<v1::StopSessionRequest>(id));
    EXPECT_EQ(Must(*store, command).session.state(), Session::STOPPED);
    Must(*store, Delete(id, false));
    EXPECT_EQ(Must(*store, command).session.state(), Session::DELETED);
    Must(*store, Erase(id, "owner-1"));
    EXPECT_EQ(ReasonFor(*store, command), v1::ARCHIVED) << "a miss always says why";
    EXPECT_EQ(Count(database, "session_requests", absl::StrCat("session_id = '", id, "'")), "0");
  }
  ExpectSound(database);
}

TEST(Repeated, StartWhoseRunWasReplacedIsStale) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = AtStage(*store, "processing");
  const Command start = WithRequestId(StartTask(id, "processing", kRun), "start");
  const Command fail = WithRequestId(FailTask(id, kRun), "fail");
  Must(*store, start);
  EXPECT_EQ(Must(*store, start).session.current_task().status(), SessionTask::RUNNING);
  Must(*store, fail);
  EXPECT_EQ(Must(*store, start).session.current_task().status(), SessionTask::FAILED)
      << "as it stands now";
  Must(*store, RetryTask(id, kNextRun));
  EXPECT_EQ(ReasonFor(*store, start), v1::STALE_TASK);
  EXPECT_EQ(ReasonFor(*store, fail), v1::STALE_TASK);
  ExpectSound(database);
}

TEST(Repeated, RequestsNameWhatIsLeftAsItStandsNow) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = AtStage(*store, "upload");
  const Command add = WithRequestId(
      AddArtifacts(id, {AnArtifact("f2"), AnArtifact("f1"), AnArtifact("f3")}), "add");
  Must(*store, add);
  const Command record =
      WithRequestId(RecordError(id, AnError(SessionError::BLOCKING, "f1")), "record");
  const std::string error = Must(*store, record).errors.front().error_id();
  Must(*store, DeleteArtifact(id, "f1"));
  const Outcome added = Must(*store, add);
  ASSERT_EQ(added.artifacts.size(), 2u);
  EXPECT_EQ(added.artifacts[0].artifact_id(), "f2");
  EXPECT_EQ(added.artifacts[1].artifact_id(), "f3");
  Must(*store, ResolveError(id, error));
  const Outcome recorded = Must(*store, record);
  ASSERT_EQ(recorded.errors.size(), 1u);
  EXPECT_EQ(recorded.errors[0].error_id(), error);
  EXPECT_EQ(recorded.errors[0].related_file_id(), "");
  EXPECT_EQ(recorded.errors[0].resolver(), "tester");
  EXPECT_FALSE(recorded.session.has_blocking_errors());
  ExpectSound(database);
}

TEST(Repeated, BareHeartbeatsLeaveNothingThatARepetitionCouldDouble) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = AtStage(*store, "processing");
  const Session before = Must(*store, StartTask(id, "processing", kRun)).session;
  const Command beat = WithRequestId(Heartbeat(id, kRun), "beat");
  const Outcome first = Must(*store, beat);
  EXPECT_THAT(first.events, IsEmpty());
  EXPECT_EQ(first.session.etag(), before.etag());
  EXPECT_EQ(first.session.sequence(), before.sequence());
  EXPECT_GT(FromProto(first.session.current_task().heartbeat_time()),
            FromProto(before.current_task().heartbeat_time()));
  EXPECT_EQ(FromProto(AllSessions(database).at(id).current_task().heartbeat_time()),
            FromProto(first.session.current_task().heartbeat_time()));
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// two for one session in one group

class OneGroup : public testing::Test {
 protected:
  OneGroup() : store_(OpenStore(database_, OneLane)) {}
  ~OneGroup() override { ExpectSound(database_); }

  std::vector<absl::StatusOr<Outcome>> Together(const std::vector<Command>& commands) {
    return InOneGroup(database_, *store_, commands);
  }

  TestDatabase database_;
  const std::unique_ptr<SessionStore> store_;
};

TEST_F(OneGroup, ErrorsAreRecordedAndResolvedAndBlockWhoComesBetween) {
  const std::string id = AtStage(*store_, "upload");
  const std::string old =
      Must(*store_, RecordError(id, AnError(SessionError::BLOCKING))).errors.front().error_id();
  const auto outcomes = Together({
      Advance(id, "processing"),
      ResolveError(id, old),
      ResolveError(id, old),
      RecordError(id, AnError(SessionError::BLOCKING)),
      Advance(id, "processing"),
      RecordError(id, AnError(SessionError::WARNING)),
  });
  EXPECT_EQ(ReasonOf(outcomes[0].status()), v1::BLOCKING_ERRORS);
  EXPECT_TRUE(outcomes[1].ok()) << outcomes[1].status();
  EXPECT_FALSE(outcomes[1]->session.has_blocking_errors());
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::ALREADY_RESOLVED);
  EXPECT_TRUE(outcomes[3]->session.has_blocking_errors());
  EXPECT_EQ(ReasonOf(outcomes[4].status()), v1::BLOCKING_ERRORS);
  EXPECT_EQ(ErrorInfoOf(outcomes[4].status()).metadata().at("first_error_id"),
            outcomes[3]->errors.front().error_id());
  EXPECT_TRUE(outcomes[5].ok());
  EXPECT_EQ(Count(database_, "session_errors"), "3");
  EXPECT_EQ(ErrorRow(database_, old).resolution(), "uploaded again");
}

TEST_F(OneGroup, ArtifactsComeAndGoAndComeAgain) {
  const std::string id = AtStage(*store_, "upload");
  Must(*store_, AddArtifacts(id, {AnArtifact("there")}));
  const auto outcomes = Together({
      AddArtifacts(id, {AnArtifact("new"), AnArtifact("other")}),
      DeleteArtifact(id, "new"),
      DeleteArtifact(id, "new"),
      AddArtifacts(id, {AnArtifact("new", SessionArtifact::TICKET)}),
      AddArtifacts(id, {AnArtifact("new")}),
      DeleteArtifact(id, "there"),
      AddArtifacts(id, {AnArtifact("there", SessionArtifact::TICKET)}),
      DeleteArtifact(id, "other"),
  });
  for (const int accepted : {0, 1, 3, 5, 6, 7})
    EXPECT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::ARTIFACT_NOT_FOUND);
  EXPECT_EQ(ReasonOf(outcomes[4].status()), v1::INVALID_FIELD);
  EXPECT_EQ(database_.Ask("SELECT string_agg(artifact_id || kind, ' ' ORDER BY artifact_id) "
                          "FROM session_artifacts"),
            "new2 there2");
}

TEST_F(OneGroup, ErrorsLoseTheirLinksWhicheverWayTheArtifactWent) {
  const std::string id = AtStage(*store_, "upload");
  Must(*store_, AddArtifacts(id, {AnArtifact("f"), AnArtifact("t", SessionArtifact::TICKET)}));
  const auto old = Must(*store_, RecordError(id, AnError(SessionError::INFO, "f", "t"))).errors;
  const auto outcomes = Together({
      RecordError(id, AnError(SessionError::INFO, "f", "t")),
      DeleteArtifact(id, "f"),
      RecordError(id, AnError(SessionError::INFO, "f")),
      AddArtifacts(id, {AnArtifact("f")}),
      RecordError(id, AnError(SessionError::INFO, "f")),
      ResolveError(id, old.front().error_id()),
  });
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::ARTIFACT_NOT_FOUND);
  for (const int accepted : {0, 1, 3, 4, 5})
    ASSERT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  for (const std::string& unlinked :
       {old.front().error_id(), outcomes[0]->errors.front().error_id()}) {
    EXPECT_EQ(ErrorRow(database_, unlinked).related_file_id(), "");
    EXPECT_EQ(ErrorRow(database_, unlinked).related_ticket_id(), "t");
  }
  EXPECT_EQ(ErrorRow(database_, outcomes[4]->errors.front().error_id()).related_file_id(), "f");
  EXPECT_EQ(outcomes[5]->errors.front().related_file_id(), "") << "as it stands";
}

TEST_F(OneGroup, AnErrorAboutTwoArtifactsLosesBothLinks) {
  const std::string id = AtStage(*store_, "upload");
  Must(*store_, AddArtifacts(id, {AnArtifact("f"), AnArtifact("t", SessionArtifact::TICKET)}));
  const auto error = Must(*store_, RecordError(id, AnError(SessionError::INFO, "f", "t"))).errors;
  ExpectAll(Together({DeleteArtifact(id, "f"), DeleteArtifact(id, "t")}));
  EXPECT_EQ(ErrorRow(database_, error.front().error_id()).related_file_id(), "");
  EXPECT_EQ(ErrorRow(database_, error.front().error_id()).related_ticket_id(), "");
}

TEST_F(OneGroup, ATaskLivesItsWholeLife) {
  const std::string id = AtStage(*store_, "processing");
  const auto outcomes = Together({
      StartTask(id, "processing", kRun),
      StartTask(id, "processing", kNextRun),
      Progress(id, kRun, 0.5),
      Heartbeat(id, kRun),
      FailTask(id, kRun),
      CompleteTask(id, kRun),
      RetryTask(id, kRun),
      RetryTask(id, kNextRun),
      CompleteTask(id, kRun),
      CompleteTask(id, kNextRun, "review"),
      StartTask(id, "export", kRun, "jira_export"),
  });
  const auto reason = [&](int i) { return ReasonOf(outcomes[i].status()); };
  EXPECT_EQ(reason(1), v1::TASK_ALREADY_RUNNING);
  EXPECT_EQ(reason(5), v1::TASK_NOT_RUNNING);
  EXPECT_EQ(reason(6), v1::INVALID_FIELD) << "its id was used a moment ago";
  EXPECT_EQ(reason(8), v1::STALE_TASK);
  EXPECT_EQ(reason(10), v1::INVALID_FIELD);
  for (const int accepted : {0, 2, 3, 4, 7, 9})
    ASSERT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  // Each answers with the task as it left it.
  EXPECT_EQ(outcomes[0]->session.current_task().status(), SessionTask::RUNNING);
  EXPECT_EQ(outcomes[4]->session.current_task().status(), SessionTask::FAILED);
  EXPECT_EQ(outcomes[7]->session.current_task().task_id(), kNextRun);
  EXPECT_EQ(outcomes[9]->session.stage(), "review");
  const SessionTask row = AllSessions(database_).at(id).current_task();
  EXPECT_EQ(row.task_id(), kNextRun);
  EXPECT_EQ(row.status(), SessionTask::COMPLETED);
  EXPECT_EQ(row.retry_count(), 1);
}

TEST_F(OneGroup, TaskIdsThatEarlierGroupsUsedAreFound) {
  const std::string id = AtStage(*store_, "processing");
  Must(*store_, StartTask(id, "processing", kRun));
  Must(*store_, FailTask(id, kRun));
  Must(*store_, RetryTask(id, kNextRun));
  Must(*store_, CompleteTask(id, kNextRun));
  const std::string drawn =
      Must(*store_, StartTask(id, "processing")).session.current_task().task_id();
  Must(*store_, CancelTask(id, drawn));
  for (const std::string& used : {std::string(kRun), std::string(kNextRun), drawn})
    EXPECT_EQ(ReasonFor(*store_, StartTask(id, "processing", used)), v1::INVALID_FIELD) << used;
  // Another session's ids are its own.
  const std::string other = AtStage(*store_, "processing");
  Must(*store_, StartTask(other, "processing", kRun));
}

TEST_F(OneGroup, AThirdFailureAndARecoveryMeet) {
  const std::string id = AtStage(*store_, "processing");
  Must(*store_, StartTask(id, "processing"));
  for (int i = 0; i < 2; ++i) {
    const std::string run = AllSessions(database_).at(id).current_task().task_id();
    ExpectAll(Together({FailTask(id, run), RetryTask(id)}));
  }
  const std::string run = AllSessions(database_).at(id).current_task().task_id();
  const auto outcomes = Together({FailTask(id, run), RetryTask(id), Advance(id, "review"),
                                  About<v1::RecoverSessionRequest>(id), RetryTask(id, kRun)});
  ASSERT_TRUE(outcomes[0].ok()) << outcomes[0].status();
  EXPECT_EQ(outcomes[0]->events.size(), 3u);
  EXPECT_EQ(outcomes[0]->session.status(), "failed");
  EXPECT_TRUE(outcomes[0]->session.has_blocking_errors());
  EXPECT_EQ(ReasonOf(outcomes[1].status()), v1::RETRY_LIMIT_EXCEEDED);
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::SESSION_NOT_ACTIVE);
  EXPECT_TRUE(outcomes[3].ok() && outcomes[4].ok());
  const Session row = AllSessions(database_).at(id);
  EXPECT_EQ(row.current_task().task_id(), kRun);
  EXPECT_EQ(row.current_task().retry_count(), 0);
  EXPECT_EQ(row.status(), "active");
  EXPECT_EQ(Count(database_, "session_errors"), "1");
}

TEST_F(OneGroup, MessagesFollowEachOtherWithoutAGap) {
  const std::string id = NewSessionIn(*store_, "interview").session_id();
  const auto outcomes = Together({
      Append(id, "question", 2),
      Append(id, "answer", 1, kMessage),
      Append(id, "question", 3, kMessage),
      SetLabel(id, "a", "b"),
      Append(id, "question", 500),
      Increment(id, kCounter, 7),
      Append(id, "answer", 1),
  });
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::INVALID_FIELD);
  const std::pair<int, int> sequences[] = {{1, 2},   {3, 3}, {0, 0},    {0, 0},
                                           {4, 503}, {0, 0}, {504, 504}};
  for (int i = 0; i < 7; ++i) {
    if (i == 2) continue;
    ASSERT_TRUE(outcomes[i].ok()) << i << " " << outcomes[i].status();
    EXPECT_EQ(std::pair(outcomes[i]->first_sequence, outcomes[i]->last_sequence), sequences[i])
        << i;
  }
  EXPECT_EQ(outcomes[6]->session.counters().at(kCounter), 509);
  EXPECT_EQ(AllSessions(database_).at(id).counters().at(kCounter), 509);
  EXPECT_EQ(ReasonFor(*store_, Append(id, "answer", 1, kMessage)), v1::INVALID_FIELD);
}

TEST_F(OneGroup, ASessionIsBornFilledAndEnded) {
  v1::CreateSessionRequest creation = NewSession("interview");
  creation.set_session_id(kRun);
  const auto outcomes = Together({
      Create(store_->catalog().Newest("interview"), creation),
      Append(kRun, "question"),
      RecordError(kRun, AnError(SessionError::BLOCKING)),
      AddArtifacts(kRun, {AnArtifact("f")}),
      Erase(kRun, "owner-1"),
      SetLabel(kRun, "a", "b"),
      Create(store_->catalog().Newest("interview"), creation),
  });
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(outcomes[i].ok()) << i << " " << outcomes[i].status();
  EXPECT_EQ(outcomes[3]->session.sequence(), 4);
  EXPECT_EQ(ReasonOf(outcomes[5].status()), v1::ARCHIVED);
  EXPECT_EQ(ReasonOf(outcomes[6].status()), v1::SESSION_EXISTS);
  EXPECT_EQ(Count(database_, "sessions", absl::StrCat("id = '", kRun, "'")), "0");
}

// -----------------------------------------------------------------------------------------------
// what the database refuses

TEST_F(OneGroup, WhatTheDatabaseRefusesBelowASessionFailsAlone) {
  database_.Ask("ALTER TABLE session_messages ADD CONSTRAINT poison CHECK (author <> 'poison')");
  const std::string one = NewSessionIn(*store_, "interview").session_id();
  const std::string two = NewSessionIn(*store_, "interview").session_id();
  Command poisoned = Append(one, "answer", 2);
  std::get<v1::AppendMessagesRequest>(poisoned.request).mutable_messages(1)->set_author("poison");
  const auto outcomes = Together(
      {Append(one, "question"), poisoned, Append(one, "question"), Append(two, "question"),
       RecordError(two, AnError(SessionError::INFO)), AddArtifacts(one, {AnArtifact("f")})});
  for (const int accepted : {0, 2, 3, 4, 5})
    EXPECT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  EXPECT_EQ(ReasonOf(outcomes[1].status()), v1::CONSTRAINT_VIOLATION);
  EXPECT_EQ(outcomes[2]->first_sequence, 2) << "no gap where the other one was";
  EXPECT_EQ(AllSessions(database_).at(one).message_count(), 2);
}

TEST_F(OneGroup, ContentThatPostgresCannotKeepFailsAlone) {
  const std::string id = NewSessionIn(*store_, "interview").session_id();
  Command zero = Append(id, "answer");
  std::get<v1::AppendMessagesRequest>(zero.request)
      .mutable_messages(0)
      ->set_content(std::string("a\0b", 3));
  const auto outcomes = Together({Append(id, "question"), zero, Append(id, "question")});
  EXPECT_TRUE(outcomes[0].ok() && outcomes[2].ok());
  EXPECT_FALSE(outcomes[1].ok());
  EXPECT_EQ(AllSessions(database_).at(id).message_count(), 2);
}

TEST_F(OneGroup, LargeMessagesAreKeptAsTheyAre) {
  const std::string id = NewSessionIn(*store_, "interview").session_id();
  std::string large;
  while (large.size() < (1 << 20) - 8) large += "ä\"\\\n😀";
  Command command = Append(id, "answer", 3);
  for (auto& message : *std::get<v1::AppendMessagesRequest>(command.request).mutable_messages())
    message.set_content(large);
  ExpectAll(Together({command, Append(id, "question"), command}));
  EXPECT_EQ(database_.Ask(absl::StrCat("SELECT count(*)::text FROM session_messages WHERE "
                                       "octet_length(content) = ",
                                       large.size())),
            "6");
}

// -----------------------------------------------------------------------------------------------
// what is left of a session that ended

// A session with something in every table below it, which is due as soon as it is over.
std::string Full(SessionStore& store) {
  const std::string id = AtStage(store, "processing", "short_lived");
  Must(store, AddArtifacts(id, {AnArtifact("f"), AnArtifact("t", SessionArtifact::TICKET)}));
  Must(store, StartTask(id, "processing", kRun));
  SessionError error = AnError(SessionError::BLOCKING, "f", "t");
  error.set_error_code("E1");
  Must(store, FailTask(id, kRun, &error));
  Must(store, RecordError(id, error));
  error.clear_error_code();
  const auto resolved = Must(store, RecordError(id, error)).errors;
  Must(store, ResolveError(id, resolved.front().error_id()));
  return id;
}

constexpr char kPatterns[] =
    "SELECT string_agg(concat_ws(' ', namespace, workflow, operation_stage, category, error_code, "
    "errors), ', ' ORDER BY error_code) FROM "
    "(SELECT namespace, workflow, operation_stage, category, error_code, sum(errors) AS errors "
    "FROM error_patterns GROUP BY 1, 2, 3, 4, 5) p";

TEST_F(OneGroup, ArchivedAndErasedSessionsLeaveATombstoneALastEventAndPatterns) {
  const std::string archived = Full(*store_), erased = Full(*store_), stays = Full(*store_);
  for (const std::string& id : {archived, stays}) Must(*store_, About<v1::StopSessionRequest>(id));
  const Session before = AllSessions(database_).at(archived);
  const auto outcomes = Together({
      SetLabel(archived, "a", "b"),
      Share<v1::PurgeSessionsRequest>(archived),
      SetLabel(archived, "a", "c"),
      Share<v1::PurgeSessionsRequest>(archived),
      Erase(erased, "owner-1"),
      Erase(stays, "nobody"),
  });
  for (const int accepted : {0, 1, 4, 5})
    ASSERT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  EXPECT_EQ(outcomes[0]->session.labels().at("a"), "b") << "as the command left it";
  EXPECT_EQ(outcomes[1]->session.session_id(), archived);
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::ARCHIVED);
  EXPECT_EQ(ReasonOf(outcomes[3].status()), v1::ARCHIVED);

  const auto events = AllEvents(database_);
  ASSERT_EQ(events.at(archived).size(), 1u);
  EXPECT_EQ(events.at(archived)[0].type(), SessionEvent::ARCHIVED);
  EXPECT_EQ(events.at(archived)[0].sequence(), before.sequence() + 2);
  EXPECT_EQ(events.at(erased)[0].type(), SessionEvent::ERASED);
  EXPECT_GT(events.at(stays).size(), 5u);
  EXPECT_EQ(
      database_.Ask("SELECT string_agg(concat_ws(' ', id, namespace, workflow, owner_id), "
                    "', ' ORDER BY owner_id) FROM tombstones"),
      absl::StrCat(erased, " default short_lived , ", archived, " default short_lived owner-1"));
  EXPECT_EQ(database_.Ask(absl::StrCat("SELECT (archived_at >= created_at)::text FROM tombstones "
                                       "WHERE id = '",
                                       archived, "'")),
            "true");
  EXPECT_EQ(database_.Ask(kPatterns),
            "default short_lived processing 1  2, default short_lived processing 1 E1 4");
  const auto read = ReadAndWait(*store_, archived);
  ASSERT_TRUE(read.ok());
  EXPECT_FALSE(read->session.has_value());
  EXPECT_TRUE(read->tombstone.has_value());
  EXPECT_EQ(FromProto(events.at(archived)[0].event_time()), read->tombstone->archive_time);
}

TEST_F(OneGroup, PatternsCountTheErrorsOfTheLastGroupToo) {
  const std::string id = AtStage(*store_, "processing");
  ExpectAll(Together({RecordError(id, AnError(SessionError::INFO)),
                      RecordError(id, AnError(SessionError::INFO)), Erase(id, "owner-1")}));
  EXPECT_EQ(database_.Ask(kPatterns), "default ticket_export processing 1  2");
}

TEST_F(OneGroup, AnUndeletionSavesASessionFromThePurge) {
  const std::string id = Full(*store_);
  Must(*store_, Delete(id, true));
  const auto outcomes =
      Together({About<v1::UndeleteSessionRequest>(id), Share<v1::PurgeSessionsRequest>(id)});
  ExpectAll(outcomes);
  EXPECT_THAT(outcomes[1]->events, IsEmpty());
  const Session session = AllSessions(database_).at(id);
  EXPECT_EQ(session.state(), Session::STOPPED);
  EXPECT_EQ(session.current_task().status(), SessionTask::FAILED) << "everything as it was";
  EXPECT_TRUE(session.has_blocking_errors());
}

TEST_F(OneGroup, AHoldSavesASessionFromPurgeAndErasure) {
  const std::string id = Full(*store_);
  Must(*store_, About<v1::StopSessionRequest>(id));
  v1::UpdateSessionRequest hold;
  hold.mutable_session()->set_hold(true);
  hold.mutable_update_mask()->add_paths("hold");
  const auto outcomes =
      Together({About(id, hold), Share<v1::PurgeSessionsRequest>(id), Erase(id, "owner-1")});
  EXPECT_TRUE(outcomes[0].ok());
  EXPECT_EQ(ReasonOf(outcomes[1].status()), v1::HOLD_ACTIVE);
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::HOLD_ACTIVE);
}

TEST_F(OneGroup, ReferencesAreDetachedFromEverySessionThatHasThem) {
  v1::CreateSessionRequest creation = NewSession("interview");
  (*creation.mutable_session()->mutable_references())["job_posting"] = "j1";
  const std::string here = NewSessionIn(*store_, "interview", &creation).session_id();
  const std::string deleted = NewSessionIn(*store_, "interview", &creation).session_id();
  const std::string other = NewSessionIn(*store_, "interview").session_id();
  Must(*store_, Delete(deleted, true));
  std::vector<Command> commands;
  for (const std::string& id : {here, deleted, other, here})
    commands.push_back(Detach(id, "job_posting", "j1"));
  commands.push_back(SetLabel(here, "a", "b"));
  const auto outcomes = Together(commands);
  ExpectAll(outcomes);
  EXPECT_EQ(outcomes[0]->events.size() + outcomes[1]->events.size(), 2u);
  EXPECT_EQ(outcomes[2]->events.size() + outcomes[3]->events.size(), 0u);
  for (const auto& [id, session] : AllSessions(database_))
    EXPECT_TRUE(session.references().empty()) << id;
}

// -----------------------------------------------------------------------------------------------
// import

v1::ImportSessionsRequest Imported(const std::string& text) {
  v1::ImportSessionsRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

TEST_F(OneGroup, AnImportedSessionIsThereWithAllThatLiesBelowAndTakenOnce) {
  const auto ticket_export = store_->catalog().Newest("ticket_export");
  const auto interview = store_->catalog().Newest("interview");
  const Command import = Import(
      ticket_export, Imported(R"pb(
        session {
          session_id: "0192f3c4-0000-7000-8000-0000000000aa"
          owner_id: "o"
          owner_display_name: "O"
          workflow: "ticket_export"
          stage: "processing"
          create_time { seconds: 1760000000 nanos: 123456000 }
          labels { key: "a" value: "ä" }
        }
        task {
          task_type: "processing"
          status: RUNNING
          task_id: "0192f3c4-0000-7000-8000-000000000001"
          start_time { seconds: 1760000100 }
          heartbeat_timeout { seconds: 30 }
        }
        artifacts {
          artifact_id: "f"
          kind: FILE
          metadata {
            fields {
              key: "n"
              value { number_value: 1 }
            }
          }
        }
        errors { category: TEMPORARY severity: BLOCKING user_message: "m" related_file_id: "f" }
        errors {
          category: TEMPORARY
          severity: BLOCKING
          user_message: "m"
          resolve_time { seconds: 1760000200 }
          resolver: "r"
        }
        events {
          fields {
            key: "k"
            value { string_value: "v" }
          }
        }
      )pb"));
  const Command talk = Import(
      interview, Imported(R"pb(
        session {
          session_id: "0192f3c4-0000-7000-8000-0000000000bb"
          workflow: "interview"
          owner_id: "o"
        }
        messages { type: "question" content: "1" }
        messages { type: "answer" content: "2" message_id: "0192f3c4-0000-7000-8000-00000000000a" }
      )pb"));
  const std::string id = import.session_id;
  const auto outcomes = Together({import, talk, import, SetLabel(id, "b", "c"),
                                  CompleteTask(id, kRun), Append(talk.session_id, "question"),
                                  Append(talk.session_id, "answer", 1, kMessage)});
  for (const int accepted : {0, 1, 3, 4, 5})
    ASSERT_TRUE(outcomes[accepted].ok()) << accepted << " " << outcomes[accepted].status();
  EXPECT_EQ(ReasonOf(outcomes[2].status()), v1::SESSION_EXISTS);
  EXPECT_EQ(ReasonOf(outcomes[6].status()), v1::INVALID_FIELD);
  EXPECT_EQ(ReasonFor(*store_, import), v1::SESSION_EXISTS);
  EXPECT_EQ(outcomes[5]->first_sequence, 3);
  const Session row = AllSessions(database_).at(id);
  EXPECT_EQ(row.create_time().nanos(), 123456000);
  EXPECT_TRUE(row.has_blocking_errors());
  EXPECT_EQ(row.current_task().status(), SessionTask::COMPLETED);
  EXPECT_EQ(Count(database_, "session_errors"), "2");
  EXPECT_EQ(Count(database_, "session_artifacts"), "1");
  Must(*store_, Erase(id, "o"));
  EXPECT_EQ(ReasonFor(*store_, import), v1::SESSION_EXISTS);
}

TEST_F(OneGroup, WhatAnImportLeftOutAndSomebodyHasAddedSinceIsNamed) {
  const std::string session =
      "session { session_id: '0192f3c4-0000-7000-8000-0000000000aa' owner_id: 'o' "
      "owner_display_name: 'O' workflow: 'ticket_export' } ";
  const std::string artifact = "artifacts { artifact_id: 'f' kind: FILE } ";
  const std::string error = absl::StrCat(
      "errors { error_id: '", kRun, "' category: TEMPORARY severity: INFO user_message: 'm' } ");
  const auto import = [&](const std::string& text, int32_t completes) {
    Command command = Import(store_->catalog().Newest("ticket_export"), Imported(session + text));
    if (completes > 0) command.workflow = nullptr;
    command.completes = completes;
    return command;
  };
  const std::string id = Must(*store_, import("", 0)).session.session_id();
  const int32_t sequence = Must(*store_, AddArtifacts(id, {AnArtifact("f")})).session.sequence();
  EXPECT_EQ(ReasonFor(*store_, import(artifact, sequence)), v1::INVALID_FIELD);
  const int32_t completed = Must(*store_, import(error, sequence)).session.sequence();
  EXPECT_EQ(ReasonFor(*store_, import(error, completed)), v1::INVALID_FIELD);
  EXPECT_EQ(Count(database_, "session_errors"), "1");
}

}  // namespace
}  // namespace sessiond::db
