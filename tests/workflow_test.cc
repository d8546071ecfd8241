// Workflow definitions: what contradicts itself is refused with a sentence that says where, and
// what is taken answers as it says.
#include "state_machine/workflow.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "state_machine/struct_json.h"
#include "state_machine/workflow_catalog.h"
#include "tests/commands.h"

namespace sessiond {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kSound[] = R"pb(
  name: "sound"
  id_format: UUID
  stages { name: "one" }
  stages { name: "two" required_fields: "text" }
  statuses { name: "any" }
  fields { name: "text" type: STRING }
)pb";

v1::Workflow Sound() {
  v1::Workflow definition;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kSound, &definition));
  return definition;
}

TEST(Definition, ThatIsSoundIsTaken) {
  EXPECT_TRUE(Workflow::Make(Sound()).ok());
  EXPECT_TRUE(Workflow::Parse(kSound).ok());
}

// What can be wrong is the matter of workflow_check_test.cc.
TEST(Definition, ThatIsUnsoundIsRefusedWithTheFirstProblemAndItsPlace) {
  v1::Workflow definition = Sound();
  definition.mutable_stages(1)->set_required_fields(0, "nope");
  definition.clear_fields();
  definition.add_counters("No");
  const absl::Status made = Workflow::Make(definition).status();
  EXPECT_EQ(made.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(made.message(),
            "workflow \"sound\": stages[1].required_fields[0]: \"nope\" is not a field of this "
            "workflow; there are none");
  const absl::Status parsed = Workflow::Parse("name: \"a\"\nunheard_of: 1").status();
  EXPECT_EQ(parsed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parsed.message(),
            "2:11: Message type \"sessiond.v1.Workflow\" has no field named \"unheard_of\".");
  EXPECT_EQ(Workflow::Parse("name: ").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Definition, ThatWasAcceptedOnceIsRestoredThoughItWouldNotBeAcceptedNow) {
  v1::Workflow definition = Sound();
  definition.mutable_stages(1)->set_required_fields(0, "nope");
  EXPECT_FALSE(Workflow::Make(definition).ok());
  const auto restored = Workflow::Restore(definition);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ((*restored)->StatusOf({.state = v1::Session::ACTIVE, .stage = "one"}), "any");
  EXPECT_FALSE(Workflow::Restore({}).ok());
  definition.clear_statuses();
  EXPECT_FALSE(Workflow::Restore(definition).ok());
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
  // 0 is never.
  EXPECT_EQ(BuiltinWorkflow("onboarding")->abandon_after(), absl::InfiniteDuration());
  EXPECT_EQ(BuiltinWorkflow("onboarding")->after_delete(), absl::Hours(24));
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

std::vector<std::string> Shown(const std::vector<WorkflowCatalog::Entry>& entries) {
  std::vector<std::string> shown;
  for (const auto& entry : entries)
    shown.push_back(absl::StrCat(entry->name(), " ", entry->revision()));
  return shown;
}

TEST(Catalog, ListsNamesInOrderAndTheNewestRevisionFirst) {
  WorkflowCatalog catalog;
  EXPECT_THAT(Shown(catalog.List(/*all_revisions=*/true)), IsEmpty());
  for (const int revision : {2, 10, 1}) catalog.Add(BuiltinWorkflow("interview", revision));
  catalog.Add(BuiltinWorkflow("execution", 1));
  EXPECT_THAT(Shown(catalog.List(/*all_revisions=*/false)),
              ElementsAre("execution 1", "interview 10"));
  EXPECT_THAT(Shown(catalog.List(/*all_revisions=*/true)),
              ElementsAre("execution 1", "interview 10", "interview 2", "interview 1"));
}

TEST(Catalog, IsReadWhileOthersAddToIt) {
  constexpr int kRevisions = 200;
  const v1::Workflow definition = BuiltinDefinition("interview");
  WorkflowCatalog catalog;
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 2; ++writer) {
    threads.emplace_back([&] {
      for (int revision = 1; revision <= kRevisions; ++revision) {
        v1::Workflow next = definition;
        next.set_revision(revision);
        catalog.Add(*Workflow::Restore(std::move(next)));
      }
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      for (int newest = 0; newest < kRevisions;) {
        const WorkflowCatalog::Entry entry = catalog.Newest("interview");
        if (entry == nullptr) continue;
        ASSERT_GE(entry->revision(), newest) << "the newest revision went back";
        newest = entry->revision();
        ASSERT_EQ(catalog.Find("interview", newest)->revision(), newest);
        ASSERT_LE(newest, static_cast<int>(catalog.List(true).size()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(catalog.List(true).size(), static_cast<std::size_t>(kRevisions));
}

}  // namespace
}  // namespace sessiond
