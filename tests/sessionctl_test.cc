// Runs the real sessionctl, as a shell would, against a fake daemon.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/state_machine/refusal.h"
#include "tests/fake_session_service.h"
#include "tests/golden.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

// `arguments` as a person types them into a shell; `environment` likewise, before the command.
Outcome Sessionctl(const std::string& arguments, const std::string& environment = "") {
  const std::string path = absl::StrCat(testing::TempDir(), "sessionctl_test.", getpid());
  const std::string line = absl::StrCat(environment, " " SESSIONCTL " ", arguments, " >", path,
                                        ".out 2>", path, ".err </dev/null");
  const int status = std::system(line.c_str());
  return {WEXITSTATUS(status), ReadFile(path + ".out"), ReadFile(path + ".err")};
}

// Any JSON at all; fails the test if it is none.
google::protobuf::Value ParseJson(const std::string& json) {
  google::protobuf::Value value;
  const auto status = google::protobuf::util::JsonStringToMessage(json, &value);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << json;
  return value;
}

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

  Outcome Run(const std::string& arguments) {
    return Sessionctl(arguments, absl::StrCat("SESSIOND_SERVER=", server_.Address()));
  }
  // What the daemon was asked last.
  std::string LastRequest() { return server_.sessions.Requests().back(); }

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
  EXPECT_EQ(Run("session events s1 -o json").out, "[]\n");
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
      {v1::SCHEMA_MISMATCH, {}, "session get s1", "sessiond migrate up"},
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
                                "session get s1 --etag r2"}) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.out, IsEmpty()) << arguments;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("error: "), HasSubstr(" --help"))) << arguments;
  }
  EXPECT_THAT(server_.sessions.Requests(), IsEmpty());
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
      const absl::string_view name = line.substr(2, line.find(' ', 2) - 2);
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
