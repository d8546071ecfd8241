// What each kind of event says, written down by hand; and that its session is what it says.
#include "state_machine/evolve.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "google/protobuf/util/message_differencer.h"
#include "state_machine/event_facts.h"
#include "state_machine/timestamps.h"
#include "tests/life.h"

namespace sessiond {
namespace {

using google::protobuf::util::MessageDifferencer;
using v1::Session;
using v1::SessionEvent;

constexpr char kTask[] = "0192f3c4-9f2e-7abc-8def-00000000000a";

// One command, and the changes of the events that it makes. `ERROR` is the id of its error, `NOW`
// its time, `LATER` a week after that.
struct Step {
  Command command;
  std::vector<std::string> changes;
};

// The sessions of ticket exports, which are kept for a week behind their end.
class Script {
 public:
  void Run(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      const std::vector<std::pair<std::string, std::string>> names = {
          {ToRfc3339(life.now), "NOW"}, {ToRfc3339(life.now + absl::Hours(24 * 7)), "LATER"}};
      const auto decision = life.Do(step.command);
      ASSERT_TRUE(decision.ok()) << decision.status();
      std::vector<std::string> changes;
      for (const SessionEvent& event : decision->events) {
        std::string json = absl::StrReplaceAll(ToJson(event.changes()), names);
        for (const v1::SessionError& each : decision->errors) error = each.error_id();
        if (!error.empty()) json = absl::StrReplaceAll(json, {{error, "ERROR"}});
        changes.push_back(json);
      }
      EXPECT_EQ(changes, step.changes) << Facts(decision);
      // The session is so: to take it once more makes no difference.
      Session again = life.session();
      for (const auto& [path, fact] : decision->events.back().changes().fields())
        TakeFactAt(path, fact, &again);
      EXPECT_TRUE(MessageDifferencer::Equals(again, life.session()));
    }
  }

  Life life{"ticket_export"};
  std::string error;
};

Command CreateWithAll(const Life& life) {
  v1::CreateSessionRequest request = NewSession("ticket_export");
  request.set_session_id(kUuid);
  Session& session = *request.mutable_session();
  session.set_hold(true);
  (*session.mutable_labels())["team"] = "a";
  (*session.mutable_context()->mutable_fields())["site_name"] = StringValue("Acme");
  return Create(life.workflow, request);
}

Command Fail(const std::string& reason) {
  v1::FailSessionRequest request;
  request.set_reason(reason);
  return About(kUuid, request);
}

Command Update() {
  v1::UpdateSessionRequest request;
  Session& session = *request.mutable_session();
  (*session.mutable_labels())["b.c"] = "2";
  (*session.mutable_context()->mutable_fields())["jira_project_key"] = StringValue("KEY");
  for (const char* path : {"labels.`b.c`", "labels.team", "context", "hold"})
    request.mutable_update_mask()->add_paths(path);
  (*request.mutable_counter_increments())["total_tickets_generated"] = 2;
  return About(kUuid, request);
}

TEST(Evolve, FollowsWhatTheEventsOfASessionSay) {
  Script script;
  script.Run({
      {CreateWithAll(script.life),
       {R"({"context":{"site_name":"Acme"},"counters":{"total_tickets_generated":0},"hold":true,)"
        R"("labels":{"team":"a"},"namespace":"default","owner_display_name":"Owner One",)"
        R"("owner_id":"owner-1","recover_before_time":"LATER","references":{},)"
        R"("workflow":"ticket_export","workflow_revision":1})"}},
      {Update(),
       {R"({"context":{"jira_project_key":"KEY"},"counters.total_tickets_generated":2,)"
        R"("hold":false,"labels.`b.c`":"2","labels.team":null})"}},
      {Advance(kUuid, "upload"), {"{}"}},
      {About<v1::PauseSessionRequest>(kUuid), {"{}"}},
      {About<v1::ResumeSessionRequest>(kUuid), {"{}"}},
      {Fail("broken"), {R"({"fail_reason":"broken","fail_time":"NOW"})"}},
      {About<v1::RecoverSessionRequest>(kUuid), {R"({"fail_reason":null,"fail_time":null})"}},
      {About<v1::RecoverSessionRequest>(kUuid), {"{}"}},
      {RecordError(kUuid, AnError(v1::SessionError::BLOCKING)),
       {R"({"errors.ERROR":{"category":"USER_FIXABLE","create_time":"NOW","error_id":"ERROR",)"
        R"("operation_stage":"upload","recovery_actions":["Upload it again."],"session_id":)"
        R"("0192f3c4-9f2e-7abc-8def-0123456789ab","severity":"BLOCKING",)"
        R"("user_message":"The file cannot be read."},"has_blocking_errors":true})"}},
  });
  script.Run({
      {ResolveError(kUuid, script.error),
       {R"({"errors.ERROR.resolution":"uploaded again","errors.ERROR.resolve_time":"NOW",)"
        R"("errors.ERROR.resolver":"tester","has_blocking_errors":false})"}},
      {About<v1::StopSessionRequest>(kUuid), {R"({"purge_time":"LATER"})"}},
      {Delete(kUuid, false), {R"({"purge_time":"LATER"})"}},
      {About<v1::UndeleteSessionRequest>(kUuid), {R"({"purge_time":"LATER"})"}},
  });
  EXPECT_EQ(script.life.session().state(), Session::STOPPED);
}

TEST(Evolve, FollowsWhatTheEventsOfATaskSay) {
  Script script;
  script.life.Begin();
  script.life.AdvanceTo("processing");
  const std::string started =
      R"({"current_task":{"heartbeat_time":"NOW","max_retries":3,"session_id":)"
      R"("0192f3c4-9f2e-7abc-8def-0123456789ab","start_time":"NOW","status":"RUNNING","task_id":)"
      R"("0192f3c4-9f2e-7abc-8def-00000000000a","task_type":"processing"}})";
  script.Run({
      {StartTask(kUuid, "processing", kTask), {started}},
      {Progress(kUuid, kTask, 0.5),
       {R"({"current_task.heartbeat_time":"NOW","current_task.progress":{"done":0.5}})"}},
      {FailTask(kUuid, kTask),
       {R"({"current_task.fail_time":"NOW","current_task.failure_context":{"why":"no luck"},)"
        R"("current_task.retry_count":1,"current_task.status":"FAILED"})"}},
      {About<v1::RecoverSessionRequest>(kUuid), {R"({"current_task.retry_count":0})"}},
  });
  script.life.Must(RetryTask(kUuid, "0192f3c4-9f2e-7abc-8def-00000000000b"));
  script.Run({
      {CancelTask(kUuid, script.life.task().task_id()),
       {R"({"current_task.cancel_time":"NOW","current_task.status":"CANCELLED"})"}},
  });
  script.life.Must(StartTask(kUuid, "processing", "0192f3c4-9f2e-7abc-8def-00000000000c"));
  script.Run({
      {CompleteTask(kUuid, script.life.task().task_id(), "review"),
       {R"({"current_task.complete_time":"NOW","current_task.result":{"tickets":5},)"
        R"("current_task.status":"COMPLETED"})",
        "{}"}},
      {AddArtifacts(kUuid, {AnArtifact("plan")}),
       {R"({"artifacts.plan":{"artifact_id":"plan","create_time":"NOW","display_name":)"
        R"("plan.pdf","kind":"FILE","session_id":"0192f3c4-9f2e-7abc-8def-0123456789ab",)"
        R"("uri":"s3://bucket/plan.pdf"}})"}},
      {DeleteArtifact(kUuid, "plan"), {R"({"artifacts.plan":null})"}},
  });
}

TEST(Evolve, FollowsWhatAnImportSays) {
  Life life("ticket_export");
  v1::ImportSessionsRequest request;
  Session& given = *request.mutable_session();
  given.set_session_id(kUuid);
  given.set_owner_id("owner-1");
  given.set_owner_display_name("Owner One");
  given.set_hold(true);
  *given.mutable_create_time() = ToProto(kBegin - absl::Hours(1));
  *given.mutable_fail_time() = ToProto(kBegin - absl::Minutes(1));
  given.set_fail_reason("broken");
  life.Must(Import(life.workflow, request));
  EXPECT_EQ(ToJson(life.events.back().changes()),
            R"({"context":{},"counters":{"total_tickets_generated":0},)"
            R"("create_time":"2025-12-31T23:00:00.000000Z","fail_reason":"broken",)"
            R"("fail_time":"2025-12-31T23:59:00.000000Z","hold":true,"namespace":"default",)"
            R"("owner_display_name":"Owner One","owner_id":"owner-1",)"
            R"("recover_before_time":"2026-01-07T23:00:00.000000Z","workflow":"ticket_export",)"
            R"("workflow_revision":1})");
  EXPECT_TRUE(life.session().hold());
  EXPECT_EQ(life.session().fail_reason(), "broken");
  EXPECT_EQ(FromProto(life.session().fail_time()), kBegin - absl::Minutes(1));
}

}  // namespace
}  // namespace sessiond
