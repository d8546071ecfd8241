// Runs the real sessionctl, as a shell would, against a fake daemon.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <clocale>
#include <cstdlib>
#include <cwchar>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "state_machine/refusal.h"
#include "tests/fake_session_service.h"
#include "tests/golden.h"
#include "tests/sessionctl_runner.h"
#include "tests/stepped_clock.h"
#include "tests/terminal.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

v1::Session SomeSession(const std::string& id = "") {
  v1::Session session;
  session.set_session_id(id);
  session.set_workflow("ticket_export");
  session.set_owner_id("u1");
  session.set_owner_display_name("Ada");
  session.set_state(v1::Session::ACTIVE);
  session.set_stage("upload");
  session.set_next_stage("processing");
  session.set_status("active");
  session.set_etag("r2");
  (*session.mutable_context()->mutable_fields())["site_name"].set_string_value(
      "Zürich \"\\ \x1b[31m");
  return session;
}

class SessionctlTest : public testing::Test {
 protected:
  SessionctlTest() { server_.sessions.Hold(SomeSession()); }

  Outcome Run(const std::string& arguments, const std::string& input = "/dev/null") {
    return Sessionctl(arguments, absl::StrCat("SESSIOND_SERVER=", server_.Address()), input);
  }
  // What the daemon was asked last.
  std::string LastRequest() { return server_.sessions.Requests().back(); }
  // The same of the services beside SessionService.
  std::string LastCall() { return server_.calls.Requests().back(); }

  FakeServer server_;
};

// ---- formats

TEST_F(SessionctlTest, ASessionIsShownAsACardAsJsonOrAsItsName) {
  EXPECT_THAT(Run("session get s1").out,
              AllOf(HasSubstr("u1 (Ada)"), HasSubstr("upload, next processing")));
  EXPECT_EQ(ParseJson(Run("session get s1 -o json").out)
                .struct_value()
                .fields()
                .at("etag")
                .string_value(),
            "r2");
  EXPECT_EQ(Run("session get s1 -o name").out, "s1\n");
}

TEST_F(SessionctlTest, ATextNeverReachesTheTerminalRaw) {
  EXPECT_THAT(Run("session get s1").out, AllOf(HasSubstr("Zürich"), Not(HasSubstr("\x1b"))));
}

TEST_F(SessionctlTest, AnEmptyListIsAnEmptyArrayAndSaysSoToPeopleOnStderr) {
  EXPECT_EQ(Run("session list -o json").out, "[]\n");
  EXPECT_EQ(Run("session list -o jsonl").out, "");
  for (const char* list : {"session events s1", "session recoverable u1", "task list", "error list",
                           "message list s1", "artifact list s1", "workflow list"}) {
    EXPECT_EQ(Run(absl::StrCat(list, " -o json")).out, "[]\n") << list;
    EXPECT_THAT(Run(list).err, Not(IsEmpty())) << list;
  }
  const Outcome table = Run("session list");
  EXPECT_EQ(table.out, "");
  EXPECT_EQ(table.err, "No sessions.\n");
}

TEST_F(SessionctlTest, JsonAlwaysParses) {
  server_.sessions.HoldPages({{SomeSession("a"), SomeSession("b")}, {SomeSession("c")}});
  server_.sessions.HoldEvents({v1::SessionEvent()});
  EXPECT_EQ(ParseJson(Run("session list -o json").out).list_value().values_size(), 3);
  EXPECT_EQ(ParseJson(Run("session events s1 -o json").out).list_value().values_size(), 1);
  EXPECT_EQ(ParseJson(Run("session lookup x y -o json").out).list_value().values_size(), 2);
  EXPECT_EQ(ParseJson(Run("session count -o json").out)
                .struct_value()
                .fields()
                .at("total")
                .number_value(),
            0);
  EXPECT_TRUE(ParseJson(Run("version -o json").out).has_struct_value());
  EXPECT_TRUE(ParseJson(Run("health -o json").out).has_struct_value());
  EXPECT_TRUE(ParseJson(Run("call GetSession").out).has_struct_value());
  const std::vector<std::string> lines =
      absl::StrSplit(Run("session list -o jsonl").out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3);
  for (const std::string& line : lines) EXPECT_TRUE(ParseJson(line).has_struct_value());
}

TEST_F(SessionctlTest, AListThatBreaksOffLeavesNoHalfJson) {
  server_.sessions.HoldPages({{SomeSession("a")}});
  server_.sessions.RefuseNext(Refusal(v1::INVALID_PAGE_TOKEN, "Unknown token"));
  EXPECT_EQ(Run("session list -o json").out, "");
}

TEST_F(SessionctlTest, AListEndsAtItsLimitAndSaysThatThereIsMore) {
  server_.sessions.HoldPages({{SomeSession("a"), SomeSession("b")}, {SomeSession("c")}});
  const Outcome cut = Run("session list --limit 2 -o name");
  EXPECT_EQ(cut.out, "a\nb\n");
  EXPECT_THAT(cut.err, HasSubstr("there are more"));
  const Outcome whole = Run("session list --limit 3 -o name");
  EXPECT_EQ(whole.out, "a\nb\nc\n");
  EXPECT_THAT(whole.err, IsEmpty());
}

// ---- on a terminal

// How many columns a line takes; escape sequences take none. REQUIRES: a locale that knows UTF-8.
int ColumnsOf(const std::string& line) {
  const std::string text = std::regex_replace(line, std::regex("\x1b\\[[0-9;?]*[a-zA-Z]|\r"), "");
  std::vector<wchar_t> wide(text.size() + 1);
  const std::size_t length = std::mbstowcs(wide.data(), text.c_str(), wide.size());
  return length == static_cast<std::size_t>(-1) ? -1 : wcswidth(wide.data(), length);
}

constexpr char kUuid[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";

TEST_F(SessionctlTest, EveryListFitsTheTerminalWhateverItIsWrittenIn) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  v1::Session session = SomeSession(kUuid);
  session.set_owner_id("山田太郎・東京都千代田区 🦊🦊🦊");
  session.set_state(v1::Session::CREATING);
  session.set_stage("site_info_collection");
  session.set_status("completed");
  server_.sessions.HoldPages({{session}});
  v1::ListTasksResponse tasks;
  tasks.add_tasks()->set_session_id(kUuid);
  tasks.mutable_tasks(0)->set_task_id(kUuid);
  tasks.mutable_tasks(0)->set_task_type("adf_validation");
  tasks.mutable_tasks(0)->set_status(v1::SessionTask::CANCELLED);
  v1::ListErrorsResponse errors;
  errors.add_errors()->set_session_id(kUuid);
  errors.mutable_errors(0)->set_error_id(kUuid);
  errors.mutable_errors(0)->set_category(v1::SessionError::ADMIN_REQUIRED);
  errors.mutable_errors(0)->set_severity(v1::SessionError::BLOCKING);
  errors.mutable_errors(0)->set_user_message("ファイルを読み込めません。もう一度お試しください。");
  v1::ListMessagesResponse messages;
  messages.add_messages()->set_sequence(12);
  messages.mutable_messages(0)->set_type("question");
  messages.mutable_messages(0)->set_question_type("situational");
  messages.mutable_messages(0)->set_author("👩‍💻 Grace");
  messages.mutable_messages(0)->set_content(std::string(300, 'x'));
  v1::ListArtifactsResponse artifacts;
  artifacts.add_artifacts()->set_artifact_id(kUuid);
  artifacts.mutable_artifacts(0)->set_kind(v1::SessionArtifact::TICKET);
  artifacts.mutable_artifacts(0)->set_display_name("設計図.pdf 設計図.pdf 設計図.pdf");
  artifacts.mutable_artifacts(0)->set_uri("s3://bucket/a/long/way/down/plan.pdf");
  v1::ListWorkflowsResponse workflows;
  workflows.add_workflows()->set_name("ticket_export");
  workflows.mutable_workflows(0)->set_display_name("チケットの書き出し");
  for (const char* stage : {"site_info_collection", "upload", "processing", "review"}) {
    workflows.mutable_workflows(0)->add_stages()->set_name(stage);
    workflows.mutable_workflows(0)->add_task_types()->set_name(stage);
  }
  setenv("SESSIOND_SERVER", server_.Address().c_str(), 1);
  for (const unsigned short columns : {120, 80, 72, 60}) {
    server_.calls.Hold(tasks);
    server_.calls.Hold(errors);
    server_.calls.Hold(errors);
    server_.calls.Hold(messages);
    server_.calls.Hold(artifacts);
    server_.calls.Hold(workflows);
    for (const std::vector<std::string>& list : {std::vector<std::string>{"session", "list"},
                                                 {"session", "recoverable", "u1"},
                                                 {"session", "lookup", kUuid},
                                                 {"task", "list"},
                                                 {"error", "list"},
                                                 {"error", "list", kUuid},
                                                 {"message", "list", kUuid},
                                                 {"artifact", "list", kUuid},
                                                 {"workflow", "list"}}) {
      std::vector<std::string> words = {"sessionctl"};
      words.insert(words.end(), list.begin(), list.end());
      Terminal terminal(words, columns);
      const std::string shown = terminal.UntilEnd();
      EXPECT_EQ(terminal.Wait(), 0) << shown;
      EXPECT_THAT(shown, HasSubstr("\n")) << absl::StrJoin(list, " ");
      for (const std::string& line : std::vector<std::string>(absl::StrSplit(shown, '\n'))) {
        EXPECT_LE(ColumnsOf(line), columns) << line;
        EXPECT_GE(ColumnsOf(line), 0) << line;
      }
      if (list[0] == "session") {
        EXPECT_THAT(shown, HasSubstr(kUuid));
      }
    }
  }
  unsetenv("SESSIOND_SERVER");
}

TEST_F(SessionctlTest, WhatIsLeastMissedIsLeftOutFirst) {
  v1::Session session = SomeSession(kUuid);
  session.mutable_create_time()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  server_.sessions.HoldPages({{session}});
  setenv("SESSIOND_SERVER", server_.Address().c_str(), 1);
  const auto headings = [](unsigned short columns) {
    Terminal terminal({"sessionctl", "session", "list"}, columns);
    const std::string shown = terminal.UntilEnd();
    return std::string(absl::StripAsciiWhitespace(std::regex_replace(
        shown.substr(0, shown.find('\n')), std::regex("\x1b\\[[0-9;]*m|\r"), "")));
  };
  const auto words = [&](unsigned short columns) {
    return std::vector<std::string>(absl::StrSplit(headings(columns), ' ', absl::SkipEmpty()));
  };
  EXPECT_THAT(words(100),
              ElementsAre("SESSION", "OWNER", "WORKFLOW", "STATE", "STAGE", "STATUS", "AGE"));
  EXPECT_THAT(words(80), ElementsAre("SESSION", "OWNER", "STATE", "STAGE", "STATUS", "AGE"));
  EXPECT_THAT(words(66), ElementsAre("SESSION", "OWNER", "STATE", "STATUS", "AGE"));
  EXPECT_THAT(words(60), ElementsAre("SESSION", "OWNER", "STATE", "STATUS"));
  unsetenv("SESSIOND_SERVER");
}

// Turns the direction of reading, hides, moves the cursor, forges a line, is no UTF-8.
const std::vector<std::string>& Deceptions() {
  static const std::vector<std::string> deceptions = {
      "\u202e", "\u202a", "\u2066", "\u2069",  "\u061c", "\u200b",  "\u200d",
      "\u200e", "\u2028", "\ufeff", "\u00ad",  "\u009b", "\x1b[2J", "\U000e0041",
      "\x07",   "\x7f",   "\u3164", "a\ufe0f", "\r"};
  return deceptions;
}

TEST_F(SessionctlTest, NothingThatDeceivesReachesTheTerminalRaw) {
  const std::string text = absl::StrCat("gnp.exe", absl::StrJoin(Deceptions(), "x"), "x");
  v1::Session session = SomeSession("s1");
  session.set_owner_id(text);
  session.set_fail_reason(text);
  session.mutable_fail_time()->set_seconds(1);
  (*session.mutable_labels())["l"] = text;
  (*session.mutable_context()->mutable_fields())["c"].set_string_value(text);
  server_.sessions.Hold(session);
  server_.sessions.HoldPages({{session}});
  v1::SessionEvent event;
  event.set_actor(text);
  event.set_reason(text);
  server_.sessions.HoldEvents({event});
  v1::ListArtifactsResponse artifacts;
  artifacts.add_artifacts()->set_artifact_id(text);
  server_.calls.Hold(artifacts);
  setenv("SESSIOND_SERVER", server_.Address().c_str(), 1);
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"artifact", "list", "s1", "-o", "name"},
                                             {"session", "get", "s1"},
                                             {"session", "get", "s1", "-o", "json"},
                                             {"session", "list"},
                                             {"session", "list", "-o", "jsonl"},
                                             {"session", "events", "s1"},
                                             {"session", "get", "s1", "--server", text},
                                             {"session", "get", "s1", "--" + text},
                                             {"session", text},
                                             {"session", "create", "-w", "x", "--set", text},
                                             {"session", "get", "s1", "--timeout", text},
                                             {"session", "recoverable", text},
                                             {"call", text},
                                             {"call", "GetSession", "-d", text},
                                             {"workflow", "validate", text},
                                             {"import", text}}) {
    std::vector<std::string> line = {"sessionctl"};
    line.insert(line.end(), words.begin(), words.end());
    Terminal terminal(line, 80);
    std::string shown = terminal.UntilEnd();
    // The terminal's own, and colours.
    shown = std::regex_replace(shown, std::regex("\r\n|\x1b\\[[0-9;]*m"), "");
    for (const std::string& deception : Deceptions()) {
      EXPECT_THAT(shown, Not(HasSubstr(deception))) << absl::StrJoin(words, " ");
    }
  }
  server_.sessions.RefuseNext(
      Refusal(v1::CONTEXT_VIOLATION, absl::StrCat("No ", text))
          .With("value", text)
          .Violation(absl::StrCat("context.", text), absl::StrCat("is unknown: ", text)));
  const Outcome refused = Run("session pause s1");
  EXPECT_THAT(refused.err, HasSubstr("gnp.exe"));
  for (const std::string& deception : Deceptions()) {
    EXPECT_THAT(refused.err, Not(HasSubstr(deception)));
  }
  unsetenv("SESSIOND_SERVER");
}

TEST_F(SessionctlTest, JsonIsExactWhateverIsInIt) {
  std::string text = "雪 \U0001F98A ❤\uFE0F";
  for (const std::string& deception : Deceptions()) absl::StrAppend(&text, deception, "x");
  v1::Session session = SomeSession("s1");
  session.set_owner_id(text);
  server_.sessions.Hold(session);
  const Outcome outcome = Run("session get s1 -o json");
  EXPECT_EQ(ParseJson(outcome.out).struct_value().fields().at("ownerId").string_value(), text);
  EXPECT_THAT(outcome.out, HasSubstr("雪 \U0001F98A ❤\uFE0F"));
}

TEST_F(SessionctlTest, TheCaretOfAFilterStandsUnderItsColumn) {
  server_.sessions.RefuseNext(Refusal(v1::INVALID_FILTER, "What?").With("position", "19"));
  EXPECT_THAT(Run("session list --filter 'owner_id = \"山田\" ownr'").err,
              HasSubstr("filter    owner_id = \"山田\" ownr\n                             ^\n"));
}

// ---- what is sent

TEST_F(SessionctlTest, FieldsAreWrittenIntoTheRequest) {
  ASSERT_EQ(
      Run("session create -w ticket_export --owner u1 --set context.site_name=x --set context.n:=5 "
          "--label team.name=a --ref job=j1 --set hold=true --actor me --reason why --request-id r")
          .exit_code,
      0);
  EXPECT_THAT(LastRequest(),
              AllOf(HasSubstr("workflow: \"ticket_export\""), HasSubstr("string_value: \"x\""),
                    HasSubstr("number_value: 5"), HasSubstr("key: \"team.name\" value: \"a\""),
                    HasSubstr("key: \"job\" value: \"j1\""), HasSubstr("hold: true"),
                    HasSubstr("request_id: \"r\" actor: \"me\" reason: \"why\"")));
}

TEST_F(SessionctlTest, OnlyAContextTakesJson) {
  for (const char* words : {"--label build:=7", "--ref job:=17", "--set owner_display_name:=42",
                            "--set owner_id:=null", "--increment tickets:=5"}) {
    const Outcome outcome = Run(absl::StrCat("session update s1 ", words));
    EXPECT_EQ(outcome.exit_code, 2) << words;
    EXPECT_THAT(outcome.err, HasSubstr("takes no JSON")) << words;
  }
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
}

TEST_F(SessionctlTest, AnUpdateNamesWhatItChanges) {
  ASSERT_EQ(Run("session update s1 --set context.site_name=x --label a.b=c --unset references.job "
                "--increment total_tickets_generated=3 --etag r2")
                .exit_code,
            0);
  EXPECT_THAT(
      LastRequest(),
      AllOf(HasSubstr(
                "paths: \"context.site_name\" paths: \"labels.`a.b`\" paths: \"references.job\""),
            HasSubstr("key: \"total_tickets_generated\" value: 3"), HasSubstr("etag: \"r2\"")));
}

TEST_F(SessionctlTest, AWholeContextMakesItsKeysSuperfluous) {
  ASSERT_EQ(Run("session update s1 --context '{\"a\": 1}' --set context.b=x").exit_code, 0);
  EXPECT_THAT(LastRequest(),
              AllOf(HasSubstr("update_mask { paths: \"context\" }"), HasSubstr("key: \"b\"")));
}

TEST_F(SessionctlTest, AdvanceGoesToTheNextStageUnlessToldWhere) {
  ASSERT_EQ(Run("session advance s1").exit_code, 0);
  EXPECT_THAT(LastRequest(), HasSubstr("target_stage: \"processing\""));
  ASSERT_EQ(Run("session advance s1 --to review").exit_code, 0);
  EXPECT_THAT(LastRequest(), HasSubstr("target_stage: \"review\""));
}

TEST_F(SessionctlTest, CallSendsAnyRequestAsJson) {
  const Outcome outcome =
      Run("call SessionService/PauseSession -d '{\"sessionId\": \"s7\"}' -o jsonl");
  EXPECT_EQ(ParseJson(outcome.out).struct_value().fields().at("sessionId").string_value(), "s7");
  EXPECT_THAT(LastRequest(), HasSubstr("request_id: "));
}

// ---- refusals

TEST_F(SessionctlTest, ARefusalExitsWith64AndItsCode) {
  server_.sessions.RefuseNext(Refusal(v1::NEVER_EXISTED, "No session s1"));
  EXPECT_EQ(Run("session get s1").exit_code, 69);
  server_.sessions.RefuseNext(Refusal(v1::INVALID_TRANSITION, "No"));
  EXPECT_EQ(Run("session pause s1").exit_code, 73);
}

TEST_F(SessionctlTest, ARefusalSaysWhatWhyWhoAndWhatNext) {
  server_.sessions.RefuseNext(
      Refusal(v1::INVALID_TRANSITION, "Cannot transition from PAUSED to PAUSED")
          .With("from", "PAUSED")
          .With("to", "PAUSED")
          .With("allowed", "ACTIVE,STOPPED"));
  const Outcome outcome = Run("session pause s1");
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("error: Cannot transition from PAUSED to PAUSED\n"),
                    HasSubstr("FAILED_PRECONDITION"), HasSubstr("INVALID_TRANSITION"),
                    HasSubstr("USER_FIXABLE"), HasSubstr("sessionctl session resume s1\n"),
                    HasSubstr("sessionctl session stop s1")));
}

TEST_F(SessionctlTest, TheNextStepGoesToTheSameDaemon) {
  server_.sessions.RefuseNext(Refusal(v1::NOT_DELETED, "No"));
  const std::string server = absl::StrCat(" --server ", server_.Address());
  EXPECT_THAT(Sessionctl("session pause s1" + server).err,
              HasSubstr(absl::StrCat("sessionctl session get s1", server, "\n")));
}

struct NextStep {
  v1::ErrorReason reason;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::string command;
  std::string expected;
};

TEST_F(SessionctlTest, EveryReasonThatCanBeHelpedProposesTheNextStep) {
  const NextStep kSteps[] = {
      {v1::INVALID_FORMAT,
       {},
       "session get 0192f3c4",
       "session list -n - --limit 1000 -o name | grep '^0192f3c4'  # ids are given whole"},
      {v1::INVALID_FORMAT,
       {},
       "session get exec_20251230",
       "session list -n - --limit 1000 -o name | grep '^exec_20251230'  # ids are given whole"},
      {v1::INVALID_FORMAT, {}, "session get nonsense", "session list -o name  # the ids there are"},
      {v1::DELETED, {}, "session get s1", "session get s1 --include-deleted"},
      {v1::DELETED, {}, "session pause s1", "session undelete s1"},
      {v1::ARCHIVED, {}, "session get s1", "session lookup s1"},
      {v1::ETAG_MISMATCH, {{"current_etag", "r9"}}, "session pause s1 --etag r2", "--etag 'r9'"},
      {v1::INVALID_TRANSITION,
       {{"from", "ACTIVE"}, {"allowed", "PAUSED"}},
       "session delete s1",
       "delete s1 --force"},
      {v1::INVALID_TRANSITION,
       {{"from", "upload"}, {"allowed", "processing"}},
       "session advance s1 --to x",
       "session advance s1 --to processing"},
      {v1::INVALID_TRANSITION,
       {{"from", "PAUSED"}, {"allowed", "ACTIVE,STOPPED,FAILED,DELETED (force)"}},
       "session pause s1",
       "session fail s1 --reason …\n            sessionctl session delete s1 --force"},
      {v1::STAGE_FIELDS_MISSING,
       {{"fields", "jira_project_key"}},
       "session advance s1",
       "session update s1 --set context.jira_project_key="},
      {v1::SESSION_NOT_ACTIVE,
       {{"allowed", "ResumeSession,StopSession"}},
       "session advance s1 --to x",
       "session resume s1"},
      {v1::HOLD_ACTIVE, {}, "session delete s1", "session update s1 --set hold=false"},
      {v1::UNKNOWN_WORKFLOW,
       {{"workflow", "interveiw"}, {"known", "execution,interview"}},
       "session create -w interveiw",
       "--workflow interview"},
      {v1::REQUEST_ID_REUSED, {}, "session pause s1 --request-id r", "another --request-id"},
      {v1::OVERLOADED,
       {},
       "session pause s1 --request-id r",
       "--request-id r, so that nothing happens twice"},
      {v1::SCHEMA_MISMATCH, {}, "session get s1", "sessiond doctor"},
      {v1::SESSION_NOT_ACTIVE,
       {{"allowed", "UpdateSession,RecordError,CompleteTask"}},
       "session advance s1 --to x",
       "session update s1 --label key=value\n            sessionctl error record s1 --category "
       "user-fixable --severity warning --message …\n"},
      {v1::NOT_RECOVERABLE, {}, "session recover s1", "session events s1"},
      {v1::BLOCKING_ERRORS,
       {{"count", "1"}, {"first_error_id", "e1"}},
       "session advance s1 --to x",
       "error resolve s1 e1 --resolution …"},
  };
  for (const NextStep& step : kSteps) {
    // --to saves `advance` its look at the session, and the refusal its one chance.
    Refusal refusal(step.reason, "No");
    for (const auto& [key, value] : step.metadata) std::move(refusal).With(key, value);
    server_.sessions.RefuseNext(std::move(refusal));
    EXPECT_THAT(Run(step.command).err, HasSubstr(step.expected))
        << v1::ErrorReason_Name(step.reason);
  }
}

TEST_F(SessionctlTest, EveryReasonOfTheOtherServicesProposesTheNextStepToo) {
  const NextStep kSteps[] = {
      {v1::TASK_NOT_FOUND, {}, "task get s1", "session get s1  # its workflow, and its stage"},
      {v1::TASK_ALREADY_RUNNING, {}, "task start s1 x", "task cancel s1"},
      {v1::TASK_NOT_RUNNING, {{"status", "FAILED"}}, "task cancel s1 --task t", "task retry s1"},
      {v1::TASK_NOT_RUNNING,
       {{"status", "CANCELLED"}, {"task_type", "export"}},
       "task cancel s1 --task t",
       "task start s1 export"},
      {v1::INVALID_TRANSITION,
       {{"from", "upload"}, {"to", "processing"}, {"advance_to_stage", "processing"}},
       "task start s1 processing",
       "task start s1 processing --to processing"},
      {v1::INVALID_TRANSITION,
       {{"from", "jira_export"}, {"to", "processing"}, {"allowed", "export,adf_validation"}},
       "task start s1 processing",
       "task start s1 export\n            sessionctl task start s1 adf_validation"},
      {v1::INVALID_TRANSITION,
       {{"from", "upload"}, {"to", "review"}, {"allowed", "processing"}},
       "task start s1 export --to review",
       "session advance s1 --to processing"},
      {v1::INVALID_TRANSITION,
       {{"from", "processing"}, {"to", "x"}, {"allowed", "review"}},
       "task complete s1 --task t --to x",
       "the same command with --to review"},
      {v1::TASK_COMPLETED, {}, "task cancel s1 --task t", "task get s1"},
      {v1::TASK_FAILED, {}, "task start s1 x", "task retry s1"},
      {v1::STALE_TASK, {}, "task cancel s1 --task t", "task get s1"},
      {v1::RETRY_LIMIT_EXCEEDED, {}, "task retry s1", "session recover s1"},
      {v1::ERROR_NOT_FOUND, {}, "error get s1 e1", "error list s1"},
      {v1::ALREADY_RESOLVED, {}, "error resolve s1 e1", "error get s1 e1"},
      {v1::ARTIFACT_NOT_FOUND, {}, "artifact delete s1 f1", "artifact list s1"},
      {v1::WORKFLOW_NOT_FOUND, {}, "workflow get w", "workflow list"},
      {v1::INVALID_WORKFLOW, {}, "workflow create /dev/null", "workflow validate /dev/null"},
  };
  for (const NextStep& step : kSteps) {
    Refusal refusal(step.reason, "No");
    for (const auto& [key, value] : step.metadata) std::move(refusal).With(key, value);
    server_.calls.RefuseNext(std::move(refusal));
    EXPECT_THAT(Run(step.command).err, HasSubstr(step.expected))
        << v1::ErrorReason_Name(step.reason);
  }
}

TEST_F(SessionctlTest, AnInvalidFilterIsShownWithItsPosition) {
  server_.sessions.RefuseNext(
      Refusal(v1::INVALID_FILTER, "Unknown field ownr").With("position", "4"));
  EXPECT_THAT(Run("session list --filter 'NOT ownr = 1'").err,
              HasSubstr("filter    NOT ownr = 1\n                ^\n"));
}

TEST_F(SessionctlTest, EveryViolationIsListed) {
  server_.sessions.RefuseNext(Refusal(v1::CONTEXT_VIOLATION, "No")
                                  .Violation("context.a", "is too long")
                                  .Violation("context.b", "is unknown"));
  EXPECT_THAT(Run("session create -w x").err,
              AllOf(HasSubstr("context.a: is too long"), HasSubstr("context.b: is unknown")));
}

TEST_F(SessionctlTest, WithJsonARefusalIsAGoogleRpcStatusOnStderr) {
  server_.sessions.RefuseNext(Refusal(v1::NEVER_EXISTED, "No session s1").With("session_id", "s1"));
  const Outcome outcome = Run("session get s1 -o json");
  EXPECT_EQ(outcome.out, "");
  const auto fields = ParseJson(outcome.err).struct_value().fields();
  EXPECT_EQ(fields.at("code").number_value(), 5);
  const auto& info = fields.at("details").list_value().values(0).struct_value().fields();
  EXPECT_EQ(info.at("reason").string_value(), "NEVER_EXISTED");
}

TEST(Sessionctl, WithoutADaemonItSaysHowToStartOne) {
  const Outcome outcome =
      Sessionctl(absl::StrCat("session list --server unix:/nonexistent.", getpid()));
  EXPECT_EQ(outcome.exit_code, 78);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("No daemon answers at unix:/nonexistent"),
                                 HasSubstr("sessiond serve")));
}

// ---- sessions: recovery, and the whole of one

TEST_F(SessionctlTest, AFullSessionShowsItsTaskItsFilesAndItsOpenErrors) {
  v1::Session session = SomeSession();
  session.mutable_current_task()->set_task_type("processing");
  session.mutable_current_task()->set_status(v1::SessionTask::RUNNING);
  session.mutable_current_task()->mutable_duration()->set_seconds(300);
  session.add_files()->set_display_name("plan.pdf");
  session.add_open_errors()->set_user_message("The plan\ncannot be read");
  session.set_has_blocking_errors(true);
  server_.sessions.Hold(session);
  const Outcome outcome = Run("session show s1 --full");
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("processing RUNNING for 5m"), HasSubstr("blocking ones are not"),
                    HasSubstr("plan.pdf"), HasSubstr("The plan cannot be read")));
  EXPECT_THAT(LastRequest(), HasSubstr("view: FULL"));
}

TEST_F(SessionctlTest, SessionsAreRecoveredAndWhatCanBeIsListed) {
  server_.sessions.HoldPages({{SomeSession("a"), SomeSession("b")}});
  EXPECT_EQ(Run("session recoverable u1 -o name").out, "a\nb\n");
  EXPECT_THAT(LastRequest(), HasSubstr("owner_id: \"u1\""));
  EXPECT_EQ(Run("session recover s1 --reason again").exit_code, 0);
  EXPECT_THAT(LastRequest(), HasSubstr("reason: \"again\""));
}

// ---- tasks

TEST_F(SessionctlTest, ATaskIsStartedWithAllThatItTakes) {
  const Outcome outcome = Run(
      "task start s1 processing --id 01 --heartbeat 1m30.5s --to processing --etag r2 --actor me");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(LastCall(),
            "StartTask session_id: \"s1\" etag: \"r2\" actor: \"me\" task_type: \"processing\" "
            "task_id: \"01\" heartbeat_timeout { seconds: 90 nanos: 500000000 } "
            "advance_to_stage: \"processing\"");
}

TEST_F(SessionctlTest, AReportIsAboutTheCurrentRunUnlessToldWhich) {
  v1::SessionTask task;
  task.set_task_id("t7");
  server_.calls.Hold(task);
  ASSERT_EQ(Run("task complete s1 --result '{\"tickets\": 5}' --to review").exit_code, 0);
  EXPECT_THAT(
      server_.calls.Requests(),
      ElementsAre("GetTask session_id: \"s1\"",
                  AllOf(HasSubstr("CompleteTask"), HasSubstr("task_id: \"t7\""),
                        HasSubstr("number_value: 5"), HasSubstr("advance_to_stage: \"review\""))));
  ASSERT_EQ(Run("task progress s1 --task t6").exit_code, 0);
  EXPECT_THAT(server_.calls.Requests(), testing::SizeIs(3));
  EXPECT_EQ(LastCall(), "ReportTaskProgress session_id: \"s1\" task_id: \"t6\"");
}

TEST_F(SessionctlTest, AFailedTaskBringsItsError) {
  ASSERT_EQ(Run("task fail s1 --task t7 --context '{\"status\": 500}' --message 'Try later' "
                "--category Temporary --severity warning --action 'Wait' --action 'Try again'")
                .exit_code,
            0);
  EXPECT_THAT(LastCall(),
              AllOf(HasSubstr("failure_context"), HasSubstr("category: TEMPORARY"),
                    HasSubstr("severity: WARNING"),
                    HasSubstr("recovery_actions: \"Wait\" recovery_actions: \"Try again\"")));
}

TEST_F(SessionctlTest, ATaskIsShownAsACard) {
  v1::SessionTask task;
  task.set_session_id("s1");
  task.set_task_id("t7");
  task.set_task_type("export");
  task.set_status(v1::SessionTask::FAILED);
  task.set_retry_count(2);
  task.set_max_retries(3);
  task.set_retryable(true);
  (*task.mutable_failure_context()->mutable_fields())["code"].set_number_value(502);
  server_.calls.Hold(task);
  EXPECT_THAT(Run("task show s1").out,
              AllOf(HasSubstr("export"), HasSubstr("FAILED"), HasSubstr("2 of 3, can be retried"),
                    HasSubstr("code = 502")));
  v1::ListTasksResponse list;
  *list.add_tasks() = task;
  server_.calls.Hold(list);
  EXPECT_EQ(Run("task list --filter 'retryable = true' -o name").out, "s1\n");
  EXPECT_THAT(LastCall(), HasSubstr("filter: \"retryable = true\""));
}

// ---- errors

TEST_F(SessionctlTest, CategoriesAndSeveritiesAreTakenAsPeopleWriteThem) {
  for (const char* category : {"user-fixable", "USER_FIXABLE", "user_fixable", "User-Fixable"}) {
    ASSERT_EQ(
        Run(absl::StrCat("error record s1 --severity BLOCKING --message m --category ", category))
            .exit_code,
        0);
    EXPECT_THAT(LastCall(), HasSubstr("category: USER_FIXABLE severity: BLOCKING"));
  }
  const Outcome outcome = Run("error record s1 --severity bad --message m --category temporary");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("not one of blocking, warning, info"));
}

TEST_F(SessionctlTest, ErrorsOfManySessionsSayWhose) {
  v1::ListErrorsResponse list;
  v1::SessionError& error = *list.add_errors();
  error.set_session_id("s1");
  error.set_error_id("e1");
  error.set_category(v1::SessionError::USER_FIXABLE);
  error.set_severity(v1::SessionError::BLOCKING);
  error.set_user_message("No");
  server_.calls.Hold(list);
  EXPECT_THAT(Run("error list").out, AllOf(HasSubstr("SESSION"), HasSubstr("s1  ")));
  EXPECT_THAT(Run("error list s1").out, AllOf(Not(HasSubstr("SESSION")), HasSubstr("e1  ")));
  EXPECT_EQ(Run("error list s1 -o name").out, "e1\n");
}

TEST_F(SessionctlTest, AnErrorIsResolvedAndTheSummaryHasTotalsAndPatterns) {
  ASSERT_EQ(Run("error resolve s1 e1 --resolution done").exit_code, 0);
  EXPECT_EQ(LastCall(), "ResolveError session_id: \"s1\" error_id: \"e1\" resolution: \"done\"");
  v1::SummarizeErrorsResponse summary;
  auto& count = *summary.add_counts();
  count.set_category(v1::SessionError::TEMPORARY);
  count.set_severity(v1::SessionError::INFO);
  count.set_count(3);
  auto& pattern = *summary.add_patterns();
  pattern.set_workflow("interview");
  pattern.set_error_code("E9");
  summary.set_total(3);
  server_.calls.Hold(summary);
  EXPECT_THAT(Run("error summary").out, AllOf(HasSubstr("TEMPORARY"), HasSubstr("total"),
                                              HasSubstr("interview"), HasSubstr("E9")));
}

// ---- messages and artifacts

TEST_F(SessionctlTest, AMessageComesFromAFlagOrFromStdin) {
  ASSERT_EQ(
      Run("message append s1 --type question --question-type technical --content 'Why?'").exit_code,
      0);
  EXPECT_EQ(LastCall(),
            "AppendMessages session_id: \"s1\" messages { type: \"question\" content: \"Why?\" "
            "question_type: \"technical\" }");
  ASSERT_EQ(
      Run("message append s1 --type answer --content -", FileWith("Because\nof it")).exit_code, 0);
  EXPECT_THAT(LastCall(), HasSubstr("content: \"Because\\nof it\""));
}

TEST_F(SessionctlTest, ManyMessagesComeFromJsonLinesFiveHundredAtATime) {
  std::string lines;
  for (int i = 0; i < 501; ++i)
    absl::StrAppend(&lines, "{\"type\": \"answer\", \"content\": \"x\"}\n");
  v1::AppendMessagesResponse first, second;
  first.set_first_sequence(1);
  first.set_last_sequence(500);
  second.set_first_sequence(501);
  second.set_last_sequence(501);
  server_.calls.Hold(first);
  server_.calls.Hold(second);
  const Outcome outcome = Run("message append s1 --from - --request-id r", FileWith(lines));
  EXPECT_THAT(outcome.out, HasSubstr("1 to 501"));
  EXPECT_THAT(server_.calls.RequestIds(), ElementsAre("r", "r/2"));
}

// What is proposed after a failure repeats the whole command, and so names the first call's.
TEST_F(SessionctlTest, ManyThatAreBrokenOffAreRepeatedUnderTheSameRequestIds) {
  for (const absl::string_view command : {"message append s1", "artifact add s1"}) {
    std::string lines;
    for (int i = 0; i < 501; ++i)
      absl::StrAppend(&lines,
                      command[0] == 'm' ? R"({"type": "answer", "content": "x"})"
                                        : R"({"kind": "FILE", "displayName": "x"})",
                      "\n");
    const std::size_t before = server_.calls.RequestIds().size();
    server_.calls.RefuseNext(absl::OkStatus());
    server_.calls.RefuseNext(Refusal(v1::CONFLICT, "Lost five times"));
    const Outcome broken_off = Run(absl::StrCat(command, " --from -"), FileWith(lines));
    EXPECT_EQ(broken_off.exit_code, 74);
    std::vector<std::string> ids = server_.calls.RequestIds();
    ids.erase(ids.begin(), ids.begin() + before);
    ASSERT_EQ(ids.size(), 2u);
    EXPECT_EQ(ids[1], ids[0] + "/2");
    EXPECT_THAT(broken_off.err, HasSubstr(absl::StrCat("--request-id ", ids[0], ",")));
  }
}

TEST_F(SessionctlTest, ARequestIdHasRoomForAllCallsBeforeTheFirst) {
  std::string lines;
  for (int i = 0; i < 501; ++i)
    absl::StrAppend(&lines, R"({"type": "answer", "content": "x"})", "\n");
  const Outcome outcome =
      Run(absl::StrCat("message append s1 --from - --request-id ", std::string(127, 'r')),
          FileWith(lines));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--request-id"));
  EXPECT_THAT(server_.calls.RequestIds(), IsEmpty());
}

TEST_F(SessionctlTest, ABadLineIsNamedAndNothingIsSent) {
  const Outcome outcome = Run("message append s1 --from -", FileWith("{}\n\n{\"typ\": 1}\n"));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("line 3"));
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
}

TEST_F(SessionctlTest, MessagesAreListedInEitherDirection) {
  v1::ListMessagesResponse list;
  v1::SessionMessage& message = *list.add_messages();
  message.set_sequence(7);
  message.set_type("question");
  message.set_question_type("technical");
  message.set_content("Why\nnot?");
  server_.calls.Hold(list);
  const Outcome outcome = Run("message list s1 --newest-first --after 9 --limit 10");
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("question (technical)"), HasSubstr("Why not?")));
  EXPECT_EQ(LastCall(),
            "ListMessages session_id: \"s1\" after_sequence: 9 order_by: \"sequence desc\" "
            "page_size: 11");
}

TEST_F(SessionctlTest, ArtifactsAreAddedListedAndDeleted) {
  v1::AddArtifactsResponse added;
  added.add_artifacts()->set_artifact_id("f1");
  server_.calls.Hold(added);
  EXPECT_EQ(Run("artifact add s1 --kind file --name plan.pdf --uri s3://b/plan.pdf -o name").out,
            "f1\n");
  EXPECT_EQ(LastCall(),
            "AddArtifacts session_id: \"s1\" artifacts { kind: FILE display_name: \"plan.pdf\" "
            "uri: \"s3://b/plan.pdf\" }");
  ASSERT_EQ(Run("artifact list s1 --kind TICKET").exit_code, 0);
  EXPECT_THAT(LastCall(), HasSubstr("kind: TICKET"));
  ASSERT_EQ(Run("artifact delete s1 f1").exit_code, 0);
  EXPECT_THAT(LastCall(), HasSubstr("artifact_id: \"f1\""));
  ASSERT_EQ(
      Run("artifact add s1 --from -", FileWith("{\"kind\": \"FILE\"}\n{\"kind\": \"TICKET\"}"))
          .exit_code,
      0);
  EXPECT_THAT(LastCall(), HasSubstr("artifacts { kind: FILE } artifacts { kind: TICKET }"));
}

// ---- what editors and shells put around a text

TEST_F(SessionctlTest, AByteOrderMarkAndCrLfAreTakenWhereTextIsRead) {
  const std::string mark = "\xEF\xBB\xBF";
  v1::AppendMessagesResponse appended;
  server_.calls.Hold(appended);
  const std::string message = "{\"type\": \"answer\", \"content\": \"x\"}\r\n";
  Outcome outcome = Run("message append s1 --from -", FileWith(mark + message + "\r\n" + message));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(LastCall(),
              HasSubstr("content: \"x\" } messages { type: \"answer\" content: \"x\" }"));
  server_.calls.Hold(v1::AddArtifactsResponse());
  outcome = Run("artifact add s1 --from " + FileWith(mark + "{\"kind\": \"FILE\"}\r\n"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string definition = FileWith(mark + "name: \"w\"\r\nstages { name: \"a\" }\r\n");
  v1::ValidateWorkflowResponse valid;
  valid.set_valid(true);
  server_.calls.Hold(valid);
  EXPECT_EQ(Run("workflow validate " + definition).exit_code, 0);
  EXPECT_THAT(LastCall(), testing::StartsWith("ValidateWorkflow textproto: \"name: "));
  server_.calls.Hold(v1::Workflow());
  EXPECT_EQ(Run("workflow create " + definition).exit_code, 0);
  EXPECT_EQ(LastCall(), "CreateWorkflow workflow { name: \"w\" stages { name: \"a\" } }");
  const std::string request = mark + "{\"sessionId\": \"s7\"}\r\n";
  EXPECT_EQ(Run("call GetSession -d @" + FileWith(request)).exit_code, 0);
  EXPECT_EQ(LastRequest(), "session_id: \"s7\"");
  EXPECT_EQ(Run("call GetSession -d -", FileWith(request)).exit_code, 0);
  outcome = Run("session lookup - -o json", FileWith(mark + "s1\r\n s2 \r\n\r\ns3"));
  EXPECT_EQ(LastRequest(), "session_ids: \"s1\" session_ids: \"s2\" session_ids: \"s3\"");
}

TEST_F(SessionctlTest, UtfSixteenIsNamed) {
  const std::string text("\xFF\xFE{\0}\0", 6);
  for (const char* command : {"message append s1 --from -", "workflow create -",
                              "call GetSession -d -", "session lookup -"}) {
    const Outcome outcome = Run(command, FileWith(text));
    EXPECT_EQ(outcome.exit_code, 2) << command;
    EXPECT_THAT(outcome.err, HasSubstr("stdin is written in UTF-16; save it as UTF-8")) << command;
  }
  const std::string path = FileWith(text);
  const Outcome outcome = Run("import " + path);
  EXPECT_EQ(outcome.exit_code, 64 + 3);
  EXPECT_THAT(outcome.err, HasSubstr(path + " is written in UTF-16; save it as UTF-8"));
}

// ---- workflows

TEST_F(SessionctlTest, WhatIsWrongWithADefinitionIsSaidWithItsPlace) {
  v1::ValidateWorkflowResponse response;
  auto& problem = *response.add_problems();
  problem.set_path("stages[1].name");
  problem.set_line(4);
  problem.set_column(11);
  problem.set_description("is there twice");
  server_.calls.Hold(response);
  const std::string path = FileWith("name: \"w\"", "textproto");
  const Outcome outcome = Run(absl::StrCat("workflow validate ", path));
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(outcome.out, absl::StrCat(path, ":4:11: stages[1].name: is there twice\n"));
  response.Clear();
  response.set_valid(true);
  server_.calls.Hold(response);
  Run(absl::StrCat("workflow validate ", path));  // Takes the first answer away.
  EXPECT_EQ(Run(absl::StrCat("workflow validate ", path)).exit_code, 0);
}

TEST_F(SessionctlTest, ADefinitionIsCreatedFromTextprotoAndShownAsSuch) {
  const std::string path = FileWith("name: \"w\" stages { name: \"a\" }", "textproto");
  v1::Workflow workflow;
  workflow.set_name("w");
  workflow.set_revision(2);
  workflow.add_stages()->set_name("a");
  server_.calls.Hold(workflow);
  EXPECT_THAT(Run(absl::StrCat("workflow create ", path)).out, HasSubstr("w, revision 2"));
  EXPECT_EQ(LastCall(), "CreateWorkflow workflow { name: \"w\" stages { name: \"a\" } }");
  const std::string shown = FileWith(Run("workflow get w --textproto").out, "textproto");
  ASSERT_EQ(Run(absl::StrCat("workflow create ", shown)).exit_code, 0);
  EXPECT_EQ(LastCall(), "CreateWorkflow workflow { name: \"w\" stages { name: \"a\" } }");
}

TEST_F(SessionctlTest, ATextThatIsNoDefinitionIsNotSent) {
  const std::string path = FileWith("name: \"w\"\nstage {}", "textproto");
  const Outcome outcome = Run(absl::StrCat("workflow create ", path));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat(path, ":2:7: ")));
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
}

// ---- admin

TEST_F(SessionctlTest, WithoutExecuteNothingIsChanged) {
  server_.sessions.HoldTotal(3);
  const Outcome erase = Run("admin erase-owner 'u\"1'");
  EXPECT_THAT(erase.out, HasSubstr("To erase"));
  EXPECT_THAT(erase.err, HasSubstr("--execute does it"));
  EXPECT_THAT(LastRequest(), HasSubstr("owner_id = \\\"u\\\\\\\"1\\\""));
  EXPECT_THAT(Run("admin detach-reference job_posting j1").out, HasSubstr("3 sessions"));
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
  v1::PurgeSessionsResponse due;
  due.set_due_count(2);
  due.set_held_count(1);
  due.add_session_ids("s1");
  server_.calls.Hold(due);
  const Outcome purge = Run("admin purge -w interview");
  EXPECT_THAT(purge.out,
              AllOf(HasSubstr("2 sessions"), HasSubstr("1 session passed over"), HasSubstr("s1")));
  EXPECT_THAT(server_.calls.Requests(), ElementsAre("PurgeSessions workflow: \"interview\""));
}

TEST_F(SessionctlTest, WithExecuteBatchesFollowUntilAllIsDone) {
  v1::EraseOwnerResponse batch;
  batch.set_affected_count(100);
  server_.calls.Hold(batch);
  server_.calls.Hold(batch);
  batch.set_affected_count(7);
  batch.set_held_count(2);
  batch.set_done(true);
  server_.calls.Hold(batch);
  EXPECT_THAT(Run("admin erase-owner u1 --execute").out,
              AllOf(HasSubstr("207 sessions"), HasSubstr("2 sessions passed over")));
  EXPECT_THAT(server_.calls.Requests(), testing::SizeIs(3));
  const auto ids = server_.calls.RequestIds();
  EXPECT_NE(ids[0], ids[1]);
}

TEST_F(SessionctlTest, APurgeIsPreviewedAndThenDone) {
  v1::PurgeSessionsResponse batch;
  batch.set_due_count(5);
  server_.calls.Hold(batch);
  batch.set_purged_count(3);
  server_.calls.Hold(batch);
  batch.set_purged_count(2);
  batch.set_done(true);
  server_.calls.Hold(batch);
  const auto fields = ParseJson(Run("admin purge --execute -o json").out).struct_value().fields();
  EXPECT_EQ(fields.at("purgedCount").number_value(), 5);
  EXPECT_THAT(server_.calls.Requests(), ElementsAre("PurgeSessions ", "PurgeSessions execute: true",
                                                    "PurgeSessions execute: true"));
}

TEST_F(SessionctlTest, ABatchThatIsRefusedSaysWhatWasDoneBefore) {
  v1::DetachReferenceResponse batch;
  batch.set_affected_count(100);
  server_.calls.Hold(batch);
  server_.calls.RefuseNext(Refusal(v1::CONFLICT, "Lost five times"));
  EXPECT_EQ(Run("admin detach-reference job_posting j1 --execute").exit_code, 74);
}

TEST_F(SessionctlTest, TheServerSaysWhatItIs) {
  v1::GetServerInfoResponse info;
  info.set_version("0.1.0");
  info.set_partition_count(64);
  info.add_workflows("execution");
  info.add_workflows("interview");
  server_.calls.Hold(info);
  EXPECT_THAT(Run("admin info").out, AllOf(HasSubstr("sessiond 0.1.0"), HasSubstr("64 partitions"),
                                           HasSubstr("execution, interview")));
}

// ---- import

std::string SessionLine(const std::string& id, const std::string& owner = "u1") {
  return absl::StrCat("{\"session\": {\"sessionId\": \"", id,
                      "\", \"workflow\": \"interview\", \"ownerId\": \"", owner, "\"}}\n");
}

TEST_F(SessionctlTest, WhatIsImportedWhatIsThereAndWhatIsRefusedIsTold) {
  const std::string path =
      FileWith(absl::StrCat(SessionLine("s1"), "{\"sesion\": 1}\n", SessionLine("s2", "nobody"),
                            "\n", SessionLine("s1"), "{}\n", SessionLine("s3")));
  const std::string report = FileWith("", "report");
  const Outcome outcome = Run(absl::StrCat("import ", path, " --report ", report));
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.out, testing::ContainsRegex("Imported +2\nAlready there +1\nRefused +3\n"));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("Nobody owns nothing"), HasSubstr("sesion"),
                                 HasSubstr("has no \"session\"")));
  EXPECT_THAT(server_.admin.Imported(), ElementsAre("s1", "s3"));
  std::vector<double> lines;
  for (const absl::string_view line : absl::StrSplit(ReadFile(report), '\n', absl::SkipEmpty())) {
    lines.push_back(ParseJson(std::string(line)).struct_value().fields().at("line").number_value());
  }
  EXPECT_THAT(lines, testing::UnorderedElementsAre(2, 3, 6));
}

TEST_F(SessionctlTest, AnImportSaysWhenItsReportCannotBeWritten) {
  const std::string path = FileWith(absl::StrCat(SessionLine("s1"), SessionLine("s2", "nobody")));
  const Outcome outcome = Run(absl::StrCat("import ", path, " --report /dev/full"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("Not all of the report could be written to /dev/full"));
  EXPECT_THAT(outcome.out, testing::ContainsRegex("Imported +1\n"));
}

TEST_F(SessionctlTest, AnImportRunAgainFindsAllAlreadyThere) {
  const std::string path = FileWith(absl::StrCat(SessionLine("s1"), SessionLine("s2")));
  EXPECT_EQ(Run(absl::StrCat("import ", path)).exit_code, 0);
  const Outcome again = Run("admin import - -o json", path);
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.err, "");
  const auto fields = ParseJson(again.out).struct_value().fields();
  EXPECT_EQ(fields.at("imported").number_value(), 0);
  EXPECT_EQ(fields.at("alreadyThere").number_value(), 2);
}

TEST_F(SessionctlTest, AnImportGoesOnBehindALostConnection) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&lines, SessionLine(absl::StrCat("s", i)));
  server_.admin.BreakAfter(300, Refusal(v1::DRAINING, "This daemon is going down"));
  server_.admin.BreakAfter(0, Refusal(v1::DRAINING, "This daemon is going down"));
  const Outcome outcome = Run("import -", FileWith(lines));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(server_.admin.Imported().size(), 1000);
  EXPECT_EQ(server_.admin.streams(), 3);
}

TEST_F(SessionctlTest, AnImportThatCannotGoOnSaysThatItCanBeRunAgain) {
  server_.admin.BreakAfter(1, Refusal(v1::SCHEMA_MISMATCH, "Run: sessiond migrate up"));
  const Outcome outcome =
      Run("import -", FileWith(absl::StrCat(SessionLine("s1"), SessionLine("s2"))));
  EXPECT_EQ(outcome.exit_code, 64 + 13);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("Run it again"), HasSubstr("sessiond migrate up")));
  EXPECT_THAT(outcome.out, testing::ContainsRegex("Imported +1\n"));
}

TEST_F(SessionctlTest, AnImportThatCannotGoOnDoesNotWaitForMoreLines) {
  server_.admin.BreakAfter(1, Refusal(v1::SCHEMA_MISMATCH, "Run: sessiond migrate up"));
  const std::string pipe = FileWith("", "pipe");
  unlink(pipe.c_str());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int end = open(pipe.c_str(), O_RDWR);  // It stays open, and says no more.
  const std::string lines = SessionLine("s1") + SessionLine("s2");
  ASSERT_EQ(write(end, lines.data(), lines.size()), static_cast<ssize_t>(lines.size()));
  const Outcome outcome = Sessionctl(
      "import -", absl::StrCat("SESSIOND_SERVER=", server_.Address(), " timeout 10"), pipe);
  close(end);
  EXPECT_EQ(outcome.exit_code, 64 + 13) << outcome.err;
}

TEST_F(SessionctlTest, TheNamespaceIsGivenToSessionsThatDoNotSayTheirs) {
  ASSERT_EQ(Run("import - -n other", FileWith(SessionLine("s1"))).exit_code, 0);
  EXPECT_THAT(LastCall(), HasSubstr("namespace: \"other\""));
}

TEST_F(SessionctlTest, AnOldDatabaseThatIsNotThereIsSaidInItsWords) {
  const Outcome outcome =
      Run("import --from-postgres postgresql://127.0.0.1:1/x --layout interview");
  EXPECT_EQ(outcome.exit_code, 78);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("The old database"), HasSubstr("refused")));
}

// ---- time

// Runs sessionctl and steps its wall clock once `seen` returns; answers how it ended, and how long
// that took by the monotonic clock. What waits by the wall clock is ended after 10 s, with 124.
std::pair<Outcome, absl::Duration> RunAndStep(const std::string& environment,
                                              const std::string& arguments, absl::Duration step,
                                              const std::function<void()>& seen,
                                              const std::string& input = "/dev/null") {
  SteppedClock clock;
  std::thread stepping([&] {
    seen();
    clock.Step(step);
  });
  const auto begin = std::chrono::steady_clock::now();
  Outcome outcome = Sessionctl(
      arguments, absl::StrCat(environment, " ", clock.Environment(), " timeout 60"), input);
  const auto took = absl::FromChrono(std::chrono::steady_clock::now() - begin);
  stepping.join();
  return {std::move(outcome), took};
}

TEST_F(SessionctlTest, ATimeoutEndsAlthoughTheWallClockIsSetBack) {
  const std::string environment = absl::StrCat("SESSIOND_SERVER=", server_.Address());
  const auto first_retry = [this] { server_.sessions.AwaitRequests(1); };
  // For a second pause there is no time left, but for a second attempt there is.
  server_.sessions.RefuseNext(Refusal(v1::DRAINING, "Going down").RetryAfter(absl::Seconds(3)),
                              1000);
  const auto [back, took] =
      RunAndStep(environment, "session pause s1 --timeout 5s", absl::Hours(-1), first_retry);
  EXPECT_EQ(back.exit_code, 64 + 14) << back.err;
  EXPECT_LT(took, absl::Seconds(30));
}

TEST_F(SessionctlTest, ARetryIsMadeAlthoughTheWallClockIsPastTheDeadline) {
  server_.sessions.RefuseNext(
      Refusal(v1::DRAINING, "Going down").RetryAfter(absl::Milliseconds(300)), 2);
  const auto [forward, took] = RunAndStep(absl::StrCat("SESSIOND_SERVER=", server_.Address()),
                                          "session pause s1 --timeout 30s", absl::Hours(1),
                                          [this] { server_.sessions.AwaitRequests(1); });
  EXPECT_EQ(forward.exit_code, 0) << forward.err;
}

TEST_F(SessionctlTest, AnImportsPauseEndsAlthoughTheWallClockIsSetBack) {
  server_.admin.RefuseNextSessions("OVERLOADED", 3);
  const auto [outcome, took] = RunAndStep(
      absl::StrCat("SESSIOND_SERVER=", server_.Address()), "import -", absl::Hours(-1),
      [this] { server_.admin.AwaitSessions(2); }, FileWith(SessionLine("s1")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(server_.admin.Imported(), ElementsAre("s1"));
}

TEST_F(SessionctlTest, AWatchNoticesThatTheDaemonIsSilentAlthoughTheWallClockIsSetBack) {
  v1::WatchSessionsResponse bookmark, done;
  bookmark.mutable_bookmark();
  bookmark.set_resume_token("a");
  *done.mutable_session() = SomeSession("s1");
  done.mutable_session()->set_status("done");
  done.set_resume_token("b");
  server_.sessions.NextWatch({bookmark});  // And then silence, without a heartbeat.
  server_.sessions.NextWatch({done});
  const auto [outcome, took] =
      RunAndStep(absl::StrCat("SESSIOND_SERVER=", server_.Address()),
                 "session watch --heartbeat 1s --until-status done", absl::Hours(-1), [this] {
                   server_.sessions.AwaitWatches(1);
                   // Nobody can see that it waits; within the 3 s it does.
                   std::this_thread::sleep_for(std::chrono::seconds(1));
                 });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("Nothing was heard for 3s"));
}

// ---- health

TEST_F(SessionctlTest, HealthExitsLikeAProbe) {
  EXPECT_EQ(Run("health").exit_code, 0);
  EXPECT_EQ(Run("health -o name").out, "SERVING\n");
  EXPECT_EQ(Run("health ill").exit_code, 4);
  EXPECT_EQ(Run("health ill -o name").out, "NOT_SERVING\n");
  EXPECT_EQ(Run("health unknown").exit_code, 69);
  EXPECT_EQ(Run("health too many").exit_code, 2);
}

// ---- usage

TEST_F(SessionctlTest, WhatIsNotUnderstoodExitsWith2AndSendsNothing) {
  for (const char* arguments : {"",
                                "session",
                                "session get",
                                "session get a b",
                                "session list --limit -1",
                                "session list --timeout 10",
                                "session list -o xml",
                                "session create",
                                "session create -w w --context '['",
                                "session create -w w --context 5",
                                "session create -w w --set x=1",
                                "session create -w w --set context.a",
                                "session create -w w --set hold=maybe",
                                "session update s1",
                                "session update s1 --increment a=b",
                                "session count --by colour",
                                "call",
                                "call NoSuch",
                                "call GetSession -d '{'",
                                "call GetSession -d '{\"x\": 1}'",
                                "call GetSession -d @/nonexistent",
                                "completion tcsh",
                                "session get s1 --etag r2",
                                "task start s1",
                                "task start s1 x --heartbeat soon",
                                "task fail s1 --message m",
                                "task fail s1 --code c",
                                "error record s1 --message m",
                                "error resolve s1",
                                "message append s1",
                                "message append s1 --content x",
                                "message append s1 --type t --content x --from /dev/null",
                                "message append s1 --from /dev/null",
                                "message append s1 --from /nonexistent",
                                "artifact add s1",
                                "artifact add s1 --kind folder",
                                "workflow get",
                                "workflow validate /nonexistent",
                                "admin erase-owner",
                                "import",
                                "import /nonexistent",
                                "import /dev/null --from-postgres x --layout interview",
                                "import --from-postgres x",
                                "import --from-postgres x --layout old"}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.out, IsEmpty()) << arguments;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("error: "), HasSubstr(" --help"))) << arguments;
  }
  EXPECT_THAT(server_.sessions.Requests(), IsEmpty());
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
}

TEST_F(SessionctlTest, AFolderIsNoEmptyFile) {
  const std::string folder = testing::TempDir();
  for (const std::string& arguments :
       {"call GetSession -d @" + folder, "message append s1 --from " + folder,
        "workflow create " + folder}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.err, HasSubstr("cannot read the file " + folder + ": Is a directory"));
  }
  const Outcome piped = Run("workflow create -", folder);
  EXPECT_EQ(piped.exit_code, 2);
  EXPECT_THAT(piped.err, HasSubstr("cannot read stdin: Is a directory"));
  EXPECT_THAT(server_.calls.Requests(), IsEmpty());
}

TEST_F(SessionctlTest, AServerIsNamedAsPeopleNameIt) {
  const std::string port = server_.Address().substr(server_.Address().find(':'));
  for (const std::string& server : {"127.0.0.1" + port, "http://127.0.0.1" + port + "/",
                                    "localhost" + port, "dns:///127.0.0.1" + port}) {
    EXPECT_EQ(Run("session get s1 -o name --server " + server).out, "s1\n") << server;
  }
  const Outcome empty = Run("session get s1 --server ''");
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_THAT(empty.err, testing::StartsWith("error: --server: \"\" names no host; write "));
  EXPECT_EQ(Run("version --server ''").exit_code, 0);
}

TEST(Sessionctl, AVariableThatIsSetButEmptyIsNotSet) {
  EXPECT_THAT(Sessionctl("session get s1", "SESSIOND_SERVER=").err, HasSubstr("127.0.0.1:7377"));
  const Outcome bad = Sessionctl("session get s1", "SESSIOND_SERVER=a:b:c");
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, HasSubstr("SESSIOND_SERVER: \"a:b:c\" has more than one colon"));
}

TEST_F(SessionctlTest, ANumberIsOneOfItsRangeInDigits) {
  for (const char* number : {"-1", "99999999999", "1e3", "٣", "''", "5.5", "0x10", "' 5'", "+5"}) {
    for (const char* command :
         {"session list --limit ", "message list s1 --after ", "workflow get w --revision "}) {
      const Outcome outcome = Run(absl::StrCat(command, number));
      EXPECT_EQ(outcome.exit_code, 2) << command << number;
      EXPECT_THAT(outcome.err,
                  AllOf(HasSubstr("is not a whole number from"), Not(HasSubstr("000000"))))
          << command << number;
    }
  }
  EXPECT_THAT(Run("session list --limit=-1").err, HasSubstr("from 0 to 2147483647"));
  EXPECT_THAT(Run("workflow get w --revision 0").err, HasSubstr("from 1 to 2147483647"));
  EXPECT_EQ(Run("session list --limit 2147483647").exit_code, 0);
  EXPECT_THAT(LastRequest(), HasSubstr("page_size: 1000"));
  EXPECT_EQ(Run("session update s1 --increment n=-3").exit_code, 0);
  EXPECT_THAT(LastRequest(), HasSubstr("value: -3"));
  for (const char* duration : {"inf", "-1s", "0", "25h", "1e400h", "5", "''"}) {
    EXPECT_THAT(Run(absl::StrCat("session list --timeout ", duration)).err,
                HasSubstr("is not a duration"))
        << duration;
  }
  EXPECT_THAT(Run("session watch --heartbeat 99999999999999h").err, HasSubstr("is not a duration"));
}

TEST_F(SessionctlTest, AStreamIsNotCalledButFollowedByItsCommand) {
  for (const char* name : {"WatchSessions", "SessionService/WatchSessions",
                           "sessiond.v1.SessionService/WatchSessions"}) {
    const Outcome outcome = Run(absl::StrCat("call ", name));
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("is a stream, and call is for what answers once; its "
                                       "command is: sessionctl session watch -o jsonl"));
  }
  EXPECT_THAT(Run("call ImportSessions").err, HasSubstr("its command is: sessionctl import"));
}

// What is proposed is typed into a shell as it stands.
TEST_F(SessionctlTest, WhatIsProposedWorksAsItIsPrinted) {
  const std::string id = "it's; \"$(touch /tmp/x)\" \\ \x1b[2J\u202e~";
  server_.sessions.RefuseNext(Refusal(v1::NOT_DELETED, "No"));
  setenv("SESSIOND_SERVER", server_.Address().c_str(), 1);
  Terminal terminal({"sessionctl", "session", "pause", id}, 500);
  const std::string shown = terminal.UntilEnd();
  unsetenv("SESSIOND_SERVER");
  const std::size_t begin = shown.find("sessionctl session get ");
  ASSERT_NE(begin, std::string::npos) << shown;
  const std::string line = shown.substr(begin, shown.find_first_of("\r\n", begin) - begin);
  const std::string script =
      FileWith(absl::StrCat(SESSIONCTL, line.substr(line.find(' ')), "\n"), "script");
  ASSERT_EQ(std::system(
                absl::StrCat("SESSIOND_SERVER=", server_.Address(), " bash ", script, " >/dev/null")
                    .c_str()),
            0)
      << line;
  v1::GetSessionRequest asked;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(LastRequest(), &asked));
  EXPECT_EQ(asked.session_id(), id);
}

TEST_F(SessionctlTest, NothingIsProposedAboutASessionThatNobodyKnows) {
  server_.sessions.RefuseNext(Refusal(v1::DELETED, "No"));
  EXPECT_THAT(Run("call GetSession").err, Not(HasSubstr("next")));
  server_.sessions.RefuseNext(Refusal(v1::DELETED, "No").With("session_id", "s1"));
  EXPECT_THAT(Run("call GetSession").err, HasSubstr("sessionctl session undelete s1"));
}

TEST(Sessionctl, ASlipIsAnsweredWithWhatWasMeant) {
  EXPECT_THAT(Sessionctl("sesion list").err, HasSubstr("did you mean session?"));
  EXPECT_THAT(Sessionctl("session lst").err, HasSubstr("did you mean list?"));
  EXPECT_THAT(Sessionctl("session list --filtr x").err, HasSubstr("did you mean --filter?"));
  EXPECT_THAT(Sessionctl("call SessionService/GetSesion").err,
              HasSubstr("did you mean SessionService/GetSession?"));
  EXPECT_THAT(Sessionctl("session zzzzzz").err, Not(HasSubstr("did you mean")));
}

TEST(Sessionctl, AResultThatCannotBeWrittenIsAnError) {
  EXPECT_EQ(std::system(SESSIONCTL " version >/dev/full 2>/dev/null") >> 8, 1);
}

TEST(Sessionctl, CompletionKnowsCommandsOptionsAndMethods) {
  EXPECT_THAT(Sessionctl("__complete session un").out, HasSubstr("undelete\t"));
  EXPECT_THAT(Sessionctl("__complete session list --fil").out, HasSubstr("--filter\t"));
  EXPECT_THAT(Sessionctl("__complete session list --ser").out, HasSubstr("--server\t"));
  EXPECT_EQ(Sessionctl("__complete session list -o ''").out, "table\njson\njsonl\nname\n");
  EXPECT_THAT(Sessionctl("__complete call sessiond.v1.SessionService/Pa").out,
              HasSubstr("PauseSession"));
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(Sessionctl(absl::StrCat("completion ", shell)).out,
                HasSubstr("sessionctl __complete"));
  }
}

// ---- the reference page

// `--help` of a command, and of all below it, as the help itself lists them.
void AppendHelp(const std::string& command, std::string& page) {
  const std::string help = Sessionctl(absl::StrCat(command, " --help")).out;
  absl::StrAppend(&page, "\n## sessionctl", command.empty() ? "" : " ", command, "\n\n```text\n",
                  help, "```\n");
  bool below = false;
  for (const absl::string_view line : absl::StrSplit(help, '\n')) {
    if (line.empty() || !absl::StartsWith(line, "  ")) below = line == "Subcommands:";
    if (below && absl::StartsWith(line, "  ") && line[2] != ' ') {
      const absl::string_view name = line.substr(2, line.find_first_of(" ,", 2) - 2);
      AppendHelp(absl::StrCat(command, command.empty() ? "" : " ", name), page);
    }
  }
}

TEST(Sessionctl, TheReferencePageIsWhatHelpSays) {
  std::string page =
      "# sessionctl\n\nWhat `--help` says, for every command. Written by the test that compares it "
      "(`SESSIOND_UPDATE_GOLDEN=1`).\n";
  AppendHelp("", page);
  EXPECT_TRUE(MatchesGolden("docs/sessionctl.md", page));
}

}  // namespace
}  // namespace sessiond
