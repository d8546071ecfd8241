// Workflow definitions: what contradicts itself is refused with a sentence that says where, and
// what is taken answers as it says.
#include "server/state_machine/workflow.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/state_machine/struct_json.h"
#include "server/state_machine/workflow_catalog.h"
#include "tests/commands.h"

namespace sessiond {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kSound[] = R"pb(
  name: "sound"
  id_format: UUID
  stages { name: "one" }
  stages { name: "two" required_fields: "text" }
  statuses { name: "busy" stages: "two" running_tasks: "job" }
  statuses { name: "any" }
  fields { name: "text" type: STRING }
)pb";

v1::Workflow Sound() {
  v1::Workflow definition;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kSound, &definition));
  return definition;
}

template <class Change>
std::string Complaint(Change change) {
  v1::Workflow definition = Sound();
  change(definition);
  const auto workflow = Workflow::Make(definition);
  if (workflow.ok()) return "taken";
  EXPECT_EQ(workflow.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(workflow.status().message());
}

TEST(Definition, ThatIsSoundIsTaken) {
  EXPECT_TRUE(Workflow::Make(Sound()).ok());
  EXPECT_TRUE(Workflow::Parse(kSound).ok());
}

TEST(Definition, ThatContradictsItselfIsRefusedWithASentence) {
  using W = v1::Workflow;
  const std::string prefix = "workflow \"sound\": ";
  EXPECT_THAT(Complaint([](W& w) { w.clear_name(); }), HasSubstr("name"));
  for (const char* name : {"Upper", "1digit", "_x", "a-b", "a b", "ä"}) {
    EXPECT_THAT(Complaint([&](W& w) { w.set_name(name); }), HasSubstr("name")) << name;
    EXPECT_THAT(Complaint([&](W& w) { w.mutable_stages(0)->set_name(name); }),
                HasSubstr(std::string("stage \"") + name));
    EXPECT_THAT(Complaint([&](W& w) { w.add_fields()->set_name(name); }),
                HasSubstr(std::string("field \"") + name));
    EXPECT_THAT(Complaint([&](W& w) { w.mutable_statuses(1)->set_name(name); }),
                HasSubstr(std::string("status \"") + name));
  }
  EXPECT_EQ(Complaint([](W& w) { w.set_name(std::string(63, 'a')); }), "taken");
  EXPECT_THAT(Complaint([](W& w) { w.set_name(std::string(64, 'a')); }), HasSubstr("name"));
  EXPECT_EQ(Complaint([](W& w) { w.clear_id_format(); }),
            prefix + "id_format: must be UUID or EXEC");
  EXPECT_EQ(Complaint([](W& w) { w.set_id_format(static_cast<W::IdFormat>(9)); }),
            prefix + "id_format: must be UUID or EXEC");
  EXPECT_EQ(Complaint([](W& w) { w.mutable_stages(1)->set_name("one"); }),
            prefix + "stage \"one\" stands twice");
  EXPECT_EQ(Complaint([](W& w) { *w.add_fields() = w.fields(0); }),
            prefix + "field \"text\" stands twice");
  EXPECT_EQ(Complaint([](W& w) { w.clear_statuses(); }),
            prefix + "statuses: at least one is needed");
  EXPECT_EQ(Complaint([](W& w) { w.mutable_fields(0)->clear_type(); }),
            prefix + "field \"text\": a type is needed");
  EXPECT_EQ(Complaint([](W& w) { w.mutable_stages(1)->add_required_fields("nope"); }),
            prefix + "stage \"two\" requires the unknown field \"nope\"");
  EXPECT_EQ(Complaint([](W& w) { w.mutable_statuses(0)->add_stages("three"); }),
            prefix + "status \"busy\" names the unknown stage \"three\"");
}

TEST(Definition, MustHaveAStatusWhereverASessionCanStand) {
  using W = v1::Workflow;
  const auto complaint = [](const auto& change) {
    return Complaint([&](W& w) { change(*w.mutable_statuses(1)); });
  };
  using Rule = v1::StatusRule;
  EXPECT_THAT(complaint([](Rule& rule) { rule.set_failed(true); }), HasSubstr("none holds in"));
  EXPECT_THAT(complaint([](Rule& rule) { rule.set_completed(true); }), HasSubstr("none holds in"));
  EXPECT_THAT(complaint([](Rule& rule) { rule.add_running_tasks("job"); }),
              HasSubstr("none holds in"));
  EXPECT_THAT(complaint([](Rule& rule) { rule.add_stages("one"); }), HasSubstr("stage \"two\""));
  for (const auto left_out : {v1::Session::CREATING, v1::Session::ACTIVE, v1::Session::PAUSED,
                              v1::Session::STOPPED, v1::Session::DELETED}) {
    const std::string said = complaint([&](Rule& rule) {
      for (const auto state : {v1::Session::CREATING, v1::Session::ACTIVE, v1::Session::PAUSED,
                               v1::Session::STOPPED, v1::Session::DELETED}) {
        if (state != left_out) rule.add_states(state);
      }
    });
    EXPECT_THAT(said, HasSubstr("in state " + v1::Session::State_Name(left_out)));
  }
}

TEST(Definition, ThatIsNoTextprotoIsRefused) {
  EXPECT_EQ(Workflow::Parse("name: ").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Workflow::Parse("unheard_of: 1").ok());
}

TEST(Definition, OfEveryBuiltInIsSound) {
  std::set<std::string> names;
  for (const absl::string_view text : BuiltinWorkflows()) {
    const auto workflow = Workflow::Parse(text);
    ASSERT_TRUE(workflow.ok()) << workflow.status();
    names.insert((*workflow)->name());
    EXPECT_EQ((*workflow)->recovery_window(), absl::Hours(24 * 7));
  }
  EXPECT_THAT(names, ElementsAre("execution", "interview", "ticket_export"));
}

TEST(Workflow, LeadsFromStageToStage) {
  const auto workflow = BuiltinWorkflow("ticket_export");
  std::string walked;
  for (const v1::Stage* stage = workflow->FirstStage(); stage != nullptr;
       stage = workflow->NextStage(stage->name())) {
    walked += stage->name() + (workflow->IsLastStage(stage->name()) ? "." : " ");
  }
  EXPECT_EQ(walked, "site_info_collection upload processing review jira_export completed.");
  EXPECT_EQ(workflow->NextStage("nowhere"), nullptr);
  EXPECT_EQ(workflow->FindStage("nowhere"), nullptr);
  EXPECT_EQ(workflow->FindStage("upload")->display_name(), "Upload");
  EXPECT_FALSE(workflow->IsLastStage("nowhere"));
  const auto without = BuiltinWorkflow("execution");
  EXPECT_EQ(without->FirstStage(), nullptr);
  EXPECT_EQ(without->NextStage(""), nullptr);
  EXPECT_FALSE(without->IsLastStage(""));
}

TEST(Workflow, RequiresWhatTheStageAndThoseBeforeItRequire) {
  const auto workflow = BuiltinWorkflow("ticket_export");
  v1::Session session;
  EXPECT_THAT(workflow->MissingFields(session, "site_info_collection"),
              ElementsAre("owner_id", "owner_display_name"));
  session.set_owner_id("o");
  session.set_owner_display_name("O");
  EXPECT_THAT(workflow->MissingFields(session, "review"), IsEmpty());
  EXPECT_THAT(workflow->MissingFields(session, "jira_export"),
              ElementsAre("context.jira_project_key"));
  EXPECT_THAT(workflow->MissingFields(session, "completed"),
              ElementsAre("context.jira_project_key"));
  auto& context = *session.mutable_context()->mutable_fields();
  for (const Value& blank : {StringValue(""), NullValue()}) {
    context["jira_project_key"] = blank;
    EXPECT_THAT(workflow->MissingFields(session, "completed"),
                ElementsAre("context.jira_project_key"));
  }
  context["jira_project_key"] = StringValue("K");
  EXPECT_THAT(workflow->MissingFields(session, "completed"), IsEmpty());
}

TEST(Workflow, KnowsItsDurationsAndNever) {
  const auto tickets = BuiltinWorkflow("ticket_export");
  EXPECT_EQ(tickets->after_end(), absl::Hours(24 * 7));
  EXPECT_EQ(tickets->after_delete(), absl::Hours(24 * 7));
  for (const char* name : {"execution", "interview"}) {
    EXPECT_EQ(BuiltinWorkflow(name)->after_end(), absl::InfiniteDuration());
    EXPECT_EQ(BuiltinWorkflow(name)->after_delete(), absl::InfiniteDuration());
  }
  EXPECT_EQ((*Workflow::Make(Sound()))->recovery_window(), absl::InfiniteDuration());
  EXPECT_TRUE(tickets->HasFailedStatus());
  EXPECT_FALSE(BuiltinWorkflow("interview")->HasFailedStatus());
  EXPECT_TRUE(tickets->HasCounter("total_tickets_generated"));
  EXPECT_FALSE(tickets->HasCounter("current_question_number"));
  EXPECT_TRUE(BuiltinWorkflow("interview")->HasReference("job_posting"));
  EXPECT_FALSE(tickets->HasReference("job_posting"));
}

TEST(Catalog, FindsRevisionsAndTheNewest) {
  WorkflowCatalog catalog;
  EXPECT_EQ(catalog.Newest("interview"), nullptr);
  catalog.Add(BuiltinWorkflow("interview", 2));
  catalog.Add(BuiltinWorkflow("interview", 10));
  catalog.Add(BuiltinWorkflow("execution", 1));
  catalog.Add(BuiltinWorkflow("interview", 1));
  EXPECT_EQ(catalog.Newest("interview")->revision(), 10);
  EXPECT_EQ(catalog.Find("interview", 2)->revision(), 2);
  EXPECT_EQ(catalog.Find("interview", 3), nullptr);
  EXPECT_EQ(catalog.Find("nope", 1), nullptr);
  EXPECT_THAT(catalog.Names(), ElementsAre("execution", "interview"));
}

}  // namespace
}  // namespace sessiond
