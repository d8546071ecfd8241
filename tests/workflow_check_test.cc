// What can be wrong with a workflow definition: each kind is found, where it stands, and what is
// found sound is.
#include "state_machine/workflow_check.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "state_machine/workflow.h"
#include "state_machine/workflow_text.h"
#include "tests/test_seed.h"
#include "tests/workflows.h"

namespace sessiond {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using testing::HasSubstr;
using testing::IsEmpty;

// A line for each part, so that a position can be counted by hand.
constexpr char kSound[] = R"(name: "sound"
id_format: UUID
stages { name: "one" }
stages { name: "two" required_fields: "text" }
stages { name: "three" }
statuses { name: "failed" failed: true }
statuses { name: "busy" stages: "two" running_tasks: "job" }
statuses { name: "resting" states: PAUSED }
statuses { name: "any" }
fields { name: "text" type: STRING max_length: 8 allowed_values: "a" allowed_values: "b" }
fields { name: "number" type: NUMBER }
counters: "count"
references: "thing"
recovery_window { seconds: 60 }
retention { after_end { seconds: 0 } abandon_after { seconds: 5 } }
message_types { name: "note" subtypes: "x" increments_counter: "count" }
task_types { name: "job" stages: "two" }
max_retries: 5
)";

v1::Workflow Parsed(const std::string& text) {
  v1::Workflow definition;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &definition)) << text;
  return definition;
}

v1::Workflow Sound() { return Parsed(kSound); }

std::vector<std::string> Described(const std::vector<WorkflowProblem>& problems) {
  std::vector<std::string> described;
  for (const WorkflowProblem& problem : problems) described.push_back(Describe(problem));
  return described;
}

TEST(Check, FindsNothingWrongWithWhatIsSound) {
  EXPECT_THAT(Described(ReadWorkflow(kSound).problems), IsEmpty());
  EXPECT_THAT(Described(ReadWorkflow(absl::StrCat("\xEF\xBB\xBF", kSound)).problems), IsEmpty());
  for (const std::string& text : AllWorkflowTexts())
    EXPECT_THAT(Described(ReadWorkflow(text).problems), IsEmpty()) << text;
  // Nobody is at the last stage but who completed.
  const std::string ended =
      absl::StrReplaceAll(kSound, {{"{ name: \"any\" }",
                                    "{ name: \"any\" stages: \"one\" stages: \"two\" }\n"
                                    "statuses { name: \"done\" completed: true }"}});
  EXPECT_THAT(Described(ReadWorkflow(ended).problems), IsEmpty());
  // Without stages, with as little as there can be.
  EXPECT_THAT(Described(ReadWorkflow("name: 'a' id_format: EXEC statuses { name: 's' }").problems),
              IsEmpty());
}

// A change of kSound, and what is then said: position and path exactly, and words out of it.
struct Case {
  const char* from;
  const char* to;
  std::vector<std::pair<std::string, std::string>> said;
};

const std::vector<Case>& Cases() {
  // clang-format off
  static const auto& cases = *new std::vector<Case>{
    // names
    {"\"sound\"", "\"Sound\"", {{"1:1: name: ", "\"Sound\" is no name: names are [a-z][a-z0-9_]{0,62}"}}},
    {"name: \"sound\"", "", {{"name: ", "is empty: names are"}}},
    {"name: \"one\"", "name: \"1one\"", {{"3:10: stages[0].name: ", "\"1one\" is no name"}}},
    {"name: \"one\"", "", {{"3:1: stages[0].name: ", "is empty"}}},
    {"\"any\"", "\"a-b\"", {{"9:12: statuses[3].name: ", "\"a-b\" is no name"}}},
    {"\"number\"", "\"a b\"", {{"11:10: fields[1].name: ", "\"a b\" is no name"}}},
    {"references: \"thing\"", "references: \"\"", {{"13:1: references[0]: ", "is empty"}}},
    {"counters: \"count\"", "counters: \"count\" counters: \"C\"", {{"12:19: counters[1]: ", "\"C\" is no name"}}},
    {"\"note\"", "\"_\"", {{"16:17: message_types[0].name: ", "\"_\" is no name"}}},
    {"subtypes: \"x\"", "subtypes: \"\xC3\xA4\"", {{"16:30: message_types[0].subtypes[0]: ", "\"\\xc3\\xa4\" is no name"}}},
    {"task_types { name: \"job\" stages: \"two\" }", "task_types { name: \"job\" stages: \"two\" }\ntask_types { name: \"JOB\" stages: \"two\" }",
     {{"18:14: task_types[1].name: ", "\"JOB\" is no name"}}},
    {"id_format: UUID", "id_format: UUID display_name: \"a\\nb\"", {{"2:17: display_name: ", "control characters"}}},
    {"name: \"one\"", "name: \"one\" display_name: \"\\377\"", {{"3:22: stages[0].display_name: ", "UTF-8"}}},
    // what stands twice
    {"name: \"three\"", "name: \"one\"", {{"5:10: stages[2].name: ", "\"one\" stands here again, after stages[0]: the definition has a cycle"}}},
    {"\"resting\"", "\"busy\"", {{"8:12: statuses[2].name: ", "after statuses[1]"}}},
    {"\"number\"", "\"text\"", {{"11:10: fields[1].name: ", "after fields[0]"}}},
    {"counters: \"count\"", "counters: [\"count\", \"count\"]", {{"12:1: counters[1]: ", "after counters[0]"}}},
    {"references: \"thing\"", "references: \"thing\"\nreferences: \"thing\"", {{"14:1: references[1]: ", "after references[0]"}}},
    {"subtypes: \"x\"", "subtypes: \"x\" subtypes: \"x\"", {{"16:44: message_types[0].subtypes[1]: ", "after message_types[0].subtypes[0]"}}},
    {"required_fields: \"text\"", "required_fields: \"text\" required_fields: \"text\"", {{"4:46: stages[1].required_fields[1]: ", "take one of them out"}}},
    {"states: PAUSED", "states: PAUSED states: PAUSED", {{"8:43: statuses[2].states[1]: ", "stands here again"}}},
    {"stages: \"two\" running_tasks: \"job\"", "stages: \"two\" stages: \"two\" running_tasks: \"job\"", {{"7:39: statuses[1].stages[1]: ", "stands here again"}}},
    {"allowed_values: \"b\"", "allowed_values: \"a\"", {{"10:70: fields[0].allowed_values[1]: ", "stands here again"}}},
    // what is not there
    {"id_format: UUID", "", {{"id_format: ", "must be UUID or EXEC"}}},
    {"required_fields: \"text\"", "required_fields: \"test\"", {{"4:22: stages[1].required_fields[0]: ", "\"test\" is not a field of this workflow; there are: text, number"}}},
    {"stages: \"two\" running_tasks", "stages: \"too\" running_tasks", {{"7:25: statuses[1].stages[0]: ", "\"too\" is not a stage of this workflow; there are: one, two, three"}}},
    {"running_tasks: \"job\"", "running_tasks: \"jab\"", {{"7:39: statuses[1].running_tasks[0]: ", "\"jab\" is not a task type of this workflow; there are: job"}}},
    {"increments_counter: \"count\"", "increments_counter: \"mount\"", {{"16:44: message_types[0].increments_counter: ", "\"mount\" is not a counter of this workflow; there are: count"}}},
    {"task_types { name: \"job\" stages: \"two\" }", "task_types { name: \"job\" stages: \"four\" }", {{"17:26: task_types[0].stages[0]: ", "\"four\" is not a stage"}}},
    {"type: NUMBER", "", {{"11:1: fields[1].type: ", "a type is needed"}}},
    {"type: NUMBER", "type: TYPE_UNSPECIFIED", {{"11:25: fields[1].type: ", "a type is needed"}}},
    // stages that are never reached
    {"allowed_values: \"a\" allowed_values: \"b\"", "allowed_values: \"\"",
     {{"4:22: stages[1].required_fields[0]: ", "can never be reached, nor what lies behind it, because \"text\" takes no value"},
      {"10:50: fields[0].allowed_values[0]: ", "is empty, which is the same as not given"}}},
    {"allowed_values: \"a\" allowed_values: \"b\"", "allowed_values: \"123456789\"",
     {{"4:22: stages[1].required_fields[0]: ", "can never be reached"},
      {"10:50: fields[0].allowed_values[0]: ", "has 9 bytes and the field takes 8: raise max_length"}}},
    {"allowed_values: \"b\"", "allowed_values: \"123456789\"", {{"10:70: fields[0].allowed_values[1]: ", "has 9 bytes"}}},
    // dead ends
    {"statuses { name: \"any\" }", "", {{"6:1: statuses: ", "none holds in state CREATING, stage \"one\": a session would end up without a status there"}}},
    {"\"any\" }", "\"any\" stages: \"one\" stages: \"two\" }", {{"6:1: statuses: ", "none holds in state STOPPED, stage \"three\""}}},
    {"\"any\" }", "\"any\" states: [CREATING, ACTIVE, STOPPED] }", {{"6:1: statuses: ", "none holds in state DELETED, stage \"one\""}}},
    {"\"any\" }", "\"any\" completed: true }", {{"6:1: statuses: ", "none holds in state CREATING"}}},
    {"statuses { name: \"resting\" states: PAUSED }\nstatuses { name: \"any\" }", "statuses { name: \"any\" }\nstatuses { name: \"resting\" states: PAUSED }",
     {{"9:1: statuses[3]: ", "\"resting\" can never hold, because wherever it would, one before it does, such as statuses[2]: put it before that"}}},
    {"states: PAUSED", "states: PAUSED completed: true", {{"8:1: statuses[2]: ", "\"resting\" can never hold: no session comes to stand"}}},
    {"states: PAUSED", "states: PAUSED stages: \"three\"", {{"8:1: statuses[2]: ", "\"resting\" can never hold: no session comes to stand"}}},
    {"states: PAUSED", "states: STATE_UNSPECIFIED", {{"8:28: statuses[2].states[0]: ", "is no state; there are: CREATING"}}},
    {"states: PAUSED", "states: 77", {{"8:28: statuses[2].states[0]: ", "is no state"}}},
    {"stages: \"two\" running_tasks", "stages: \"one\" running_tasks", {{"7:1: statuses[1]: ", "can never hold: no session"}}},
    {"task_types { name: \"job\" stages: \"two\" }", "task_types { name: \"job\" stages: \"three\" }", {{"17:26: task_types[0].stages[0]: ", "\"three\" is the last stage, which ends the session"}}},
    {"task_types { name: \"job\" stages: \"two\" }", "task_types { name: \"job\" }", {{"17:1: task_types[0].stages: ", "none is named"}}},
    {"statuses { name: \"failed\" failed: true }", "", {{"17:1: task_types[0]: ", "tasks can fail, and no status says so: add one with failed: true"}}},
    {"stages { name: \"one\" }\nstages { name: \"two\" required_fields: \"text\" }", "",
     {{"4:1: stages[0]: ", "is the first and the last stage at once"},
      {"6:25: statuses[1].stages[0]: ", "\"two\" is not a stage"},
      {"16:26: task_types[0].stages[0]: ", "\"two\" is not a stage"}}},
    // numbers
    {"seconds: 60", "seconds: -60", {{"14:1: recovery_window: ", "is negative"}}},
    {"seconds: 60", "seconds: 0", {{"14:1: recovery_window: ", "no session could ever be recovered"}}},
    {"seconds: 60", "seconds: 60 nanos: 1000000000", {{"14:1: recovery_window: ", "is longer than 100 years"}}},
    {"after_end { seconds: 0 }", "after_end { nanos: -1 }", {{"15:13: retention.after_end: ", "is negative"}}},
    {"after_end { seconds: 0 }", "after_delete { seconds: 315360000001 }", {{"15:13: retention.after_delete: ", "is longer than 100 years: leave it out for never"}}},
    {"recovery_window { seconds: 60 }", "", {{"15:38: retention.abandon_after: ", "counts from the end of the recovery window, and there is none"}}},
    {"max_length: 8", "max_length: -1", {{"10:36: fields[0].max_length: ", "-1 cannot be: give 1 to 65536 bytes"}}},
    {"max_length: 8", "max_length: 65537", {{"10:36: fields[0].max_length: ", "65537 cannot be"}}},
    {"type: NUMBER", "type: NUMBER max_length: 3", {{"11:38: fields[1].max_length: ", "is for strings"}}},
    {"type: NUMBER", "type: NUMBER allowed_values: \"1\"", {{"11:38: fields[1].allowed_values: ", "are for strings"}}},
    {"max_retries: 5", "max_retries: -1", {{"18:1: max_retries: ", "-1 cannot be: give 1 to 1000, or 0 for 3"}}},
    {"max_retries: 5", "max_retries: 1001", {{"18:1: max_retries: ", "1001 cannot be"}}},
    // what cannot be read
    {"id_format: UUID", "id_farmat: UUID", {{"2:10: ", "has no field named \"id_farmat\""}}},
    {"id_format: UUID", "id_format: GUID", {{"2:12: ", "Unknown enumeration value of \"GUID\""}}},
    {"seconds: 60 }", "seconds: 60", {{"15:11: ", "has no field named \"retention\""}}},
    {"max_retries: 5", "max_retries: 5000000000", {{"18:14: ", "out of range"}}},
    {"name: \"sound\"", "name: \"a\" name: \"b\"", {{"1:15: ", "specified multiple times"}}},
    {"id_format: UUID", "\xFF", {{"2:1: ", "non ascii"}, {"2:1: ", "\\xff"}}},
    {"states: PAUSED", "\tstates: PAUSE\n", {{"8:41: ", "Unknown enumeration value of \"PAUSE\""}}},
  };
  // clang-format on
  return cases;
}

TEST(Check, SaysWhatIsWrongAndExactlyWhere) {
  for (const Case& each : Cases()) {
    ASSERT_THAT(kSound, HasSubstr(each.from));
    const std::string text = absl::StrReplaceAll(kSound, {{each.from, each.to}});
    const std::vector<std::string> said = Described(ReadWorkflow(text).problems);
    ASSERT_EQ(said.size(), each.said.size()) << each.to << "\n" << testing::PrintToString(said);
    for (std::size_t i = 0; i < said.size(); ++i) {
      const auto& [where, what] = each.said[i];
      EXPECT_TRUE(absl::StartsWith(said[i], where)) << said[i] << "\nexpected at " << where;
      EXPECT_THAT(said[i], HasSubstr(what));
      // A position that is left out was not merely forgotten.
      EXPECT_EQ(absl::ascii_isdigit(said[i][0]), absl::ascii_isdigit(where[0])) << said[i];
    }
  }
}

TEST(Check, SaysTheSameOfAMessageAsOfItsText) {
  for (const Case& each : Cases()) {
    v1::Workflow definition;
    const std::string text = absl::StrReplaceAll(kSound, {{each.from, each.to}});
    WorkflowText read = ReadWorkflow(text);
    if (read.problems.front().path().empty()) continue;  // Not read at all.
    std::multiset<std::string> of_text, of_message;
    for (const WorkflowProblem& problem : read.problems)
      of_text.insert(absl::StrCat(problem.path(), ": ", problem.description()));
    for (const WorkflowProblem& problem : CheckWorkflow(read.definition))
      of_message.insert(Describe(problem));
    EXPECT_EQ(of_text, of_message);
  }
}

TEST(Check, FindsEverythingAtOnceInTheOrderOfTheDefinition) {
  v1::Workflow definition = Sound();
  definition.set_max_retries(-1);
  definition.mutable_task_types(0)->set_name("Job");
  definition.mutable_stages(0)->add_required_fields("nope");
  definition.mutable_stages(2)->set_name("one");
  definition.mutable_stages(2)->set_display_name("\n");
  definition.clear_id_format();
  definition.set_name("No");
  definition.add_counters("count");
  std::vector<std::string> paths;
  for (const WorkflowProblem& problem : CheckWorkflow(definition)) paths.push_back(problem.path());
  EXPECT_THAT(paths, testing::ElementsAre("name", "id_format", "stages[0].required_fields[0]",
                                          "stages[2].name", "stages[2].display_name",
                                          "statuses[1].running_tasks[0]", "counters[1]",
                                          "task_types[0].name", "max_retries"));
}

// Every list of a definition, filled beyond what it may hold.
void Overfill(Message& message, const std::string& path,
              const std::function<void(const std::string&)>& check) {
  std::vector<const FieldDescriptor*> lists;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) lists.push_back(field);
  }
  const auto* reflection = message.GetReflection();
  for (const FieldDescriptor* field : lists) {
    const std::string here = path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
    const int before = reflection->FieldSize(message, field);
    for (int i = 0; i < 200; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        reflection->AddMessage(&message, field);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        reflection->AddEnumValue(&message, field, 1);
      } else {
        reflection->AddString(&message, field, "a");
      }
    }
    check(here);
    while (reflection->FieldSize(message, field) > before) reflection->RemoveLast(&message, field);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      Overfill(*reflection->MutableRepeatedMessage(&message, field, 0), here + "[0]", check);
  }
}

TEST(Check, BoundsEveryListAndTheWhole) {
  v1::Workflow definition = Sound();
  int lists = 0;
  Overfill(definition, "", [&](const std::string& path) {
    const auto problems = CheckWorkflow(definition);
    ASSERT_EQ(problems.size(), 1u) << path;
    EXPECT_EQ(problems[0].path(), path);
    EXPECT_THAT(problems[0].description(), HasSubstr(" entries, and may have "));
    ++lists;
  });
  EXPECT_EQ(lists, 14);
  definition.set_display_name(std::string(257, 'x'));
  EXPECT_THAT(Described(CheckWorkflow(definition)),
              testing::ElementsAre("display_name: has 257 bytes, and may have 256"));
  definition.set_display_name(std::string(300'000, 'x'));
  EXPECT_THAT(Described(CheckWorkflow(definition)),
              testing::ElementsAre(HasSubstr("bytes, and may have 262144")));
}

TEST(Check, OfTheLargestDefinitionTakesNoTime) {
  v1::Workflow definition = Sound();
  definition.clear_stages();
  definition.clear_statuses();
  definition.clear_task_types();
  for (int i = 0; i < 64; ++i) definition.add_stages()->set_name(absl::StrCat("stage_", i));
  for (int i = 0; i < 32; ++i) {
    v1::TaskType* type = definition.add_task_types();
    type->set_name(absl::StrCat("task_", i));
    for (int j = 0; j < 63; ++j) type->add_stages(absl::StrCat("stage_", j));
  }
  for (int i = 0; i < 63; ++i) {
    v1::StatusRule* rule = definition.add_statuses();
    rule->set_name(absl::StrCat("status_", i));
    for (int j = 63; j >= i; --j) rule->add_stages(absl::StrCat("stage_", j));
    for (int j = 31; j >= 0; --j) rule->add_running_tasks(absl::StrCat("task_", j));
  }
  definition.mutable_statuses(0)->set_failed(true);
  definition.add_statuses()->set_name("any");
  // The processor's time, which nobody else's work makes longer.
  const std::clock_t begin = std::clock();
  EXPECT_FALSE(CheckWorkflow(definition).empty());
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 5);
  std::cout << "took " << seconds << " s" << std::endl;
}

TEST(Check, StopsAtAThousandProblems) {
  v1::Workflow definition = Sound();
  while (definition.stages_size() < 64) *definition.add_stages() = definition.stages(1);
  for (v1::Stage& stage : *definition.mutable_stages()) {
    while (stage.required_fields_size() < 100) stage.add_required_fields(std::string(30, '\x01'));
  }
  v1::ValidateWorkflowResponse response;
  const auto problems = CheckWorkflow(definition);
  EXPECT_EQ(problems.size(), 1000u);
  response.mutable_problems()->Assign(problems.begin(), problems.end());
  EXPECT_LT(response.ByteSizeLong(), 1u << 20);
}

// -----------------------------------------------------------------------------------------------
// random definitions

// One random change somewhere in a message.
void Mutate(Message& message, std::mt19937_64& random) {
  const auto draw = [&](int count) { return static_cast<int>(random() % count); };
  static const char* const kWords[] = {"",    "one", "two",   "three", "text",   "job",
                                       "any", "Bad", "count", "\xFF",  "failed", "a\nb"};
  static const int kNumbers[] = {-1, 0, 1, 3, 5, 1000, 1001, 65536, 65537, 2147483647};
  const auto* reflection = message.GetReflection();
  const auto* type = message.GetDescriptor();
  const FieldDescriptor* field = type->field(draw(type->field_count()));
  const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 0;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    Message* inner;
    if (!field->is_repeated()) {
      if (draw(8) == 0) return reflection->ClearField(&message, field);
      inner = reflection->MutableMessage(&message, field);
    } else if (size == 0 || draw(8) == 0) {
      inner = reflection->AddMessage(&message, field);
      if (size > 0) inner->CopyFrom(reflection->GetRepeatedMessage(message, field, draw(size)));
    } else {
      inner = reflection->MutableRepeatedMessage(&message, field, draw(size));
    }
    if (size > 1 && draw(8) == 0) reflection->SwapElements(&message, field, draw(size), draw(size));
    if (size > 1 && draw(8) == 0) return reflection->RemoveLast(&message, field);
    return Mutate(*inner, random);
  }
  if (field->is_repeated() && size > 0 && draw(2) == 0)
    return reflection->RemoveLast(&message, field);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string word = kWords[draw(std::size(kWords))];
      return field->is_repeated() ? reflection->AddString(&message, field, word)
                                  : reflection->SetString(&message, field, word);
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return field->is_repeated() ? reflection->AddEnumValue(&message, field, draw(8))
                                  : reflection->SetEnumValue(&message, field, draw(8));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->SetBool(&message, field, draw(2) == 0);
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection->SetInt32(&message, field, kNumbers[draw(std::size(kNumbers))]);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->SetInt64(&message, field, kNumbers[draw(std::size(kNumbers))]);
    default:
      FAIL() << field->full_name();
  }
}

// What a session relies on, asked of a workflow as it is used.
void ExpectUsable(const Workflow& workflow) {
  int steps = 0;
  for (const v1::Stage* stage = workflow.FirstStage(); stage != nullptr;
       stage = workflow.NextStage(stage->name())) {
    ASSERT_LE(++steps, 64) << "a walk without an end";
    for (const auto state : {v1::Session::ACTIVE, v1::Session::PAUSED, v1::Session::STOPPED}) {
      if (workflow.IsLastStage(stage->name()) != (state == v1::Session::STOPPED)) continue;
      const Standing standing{
          .state = state, .stage = stage->name(), .completed = workflow.IsLastStage(stage->name())};
      const std::string& status = workflow.StatusOf(standing);
      for (const v1::StatusRule& rule : workflow.definition().statuses()) {
        EXPECT_TRUE(rule.name() != status || Holds(rule, standing)) << status;
      }
    }
    for (const std::string& task : workflow.TaskTypesIn(stage->name()))
      EXPECT_NE(workflow.FindTaskType(task), nullptr);
  }
  EXPECT_TRUE(workflow.definition().task_types().empty() || workflow.HasFailedStatus());
  EXPECT_GT(workflow.max_retries(), 0);
}

TEST(Check, OfAnyDefinitionAgreesWithMakeAndHarmsNobody) {
  std::mt19937_64 random(TestSeed());
  std::vector<v1::Workflow> seeds = {Sound()};
  for (const std::string& text : AllWorkflowTexts()) seeds.push_back(Parsed(text));
  int sound = 0, unsound = 0;
  for (int round = 0; round < 20'000; ++round) {
    v1::Workflow definition = seeds[random() % seeds.size()];
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes)
      Mutate(definition, random);
    const std::vector<WorkflowProblem> problems = CheckWorkflow(definition);
    const auto made = Workflow::Make(definition);
    ASSERT_EQ(made.ok(), problems.empty()) << definition.DebugString();
    if (made.ok()) {
      ++sound;
      ExpectUsable(**made);
      EXPECT_TRUE(Workflow::Restore(definition).ok());
    } else {
      ++unsound;
      EXPECT_THAT(std::string(made.status().message()), HasSubstr(Describe(problems.front())));
    }
    if (round % 8 != 0) continue;
    // As text it is the same, with positions.
    std::string text;
    ASSERT_TRUE(TextFormat::PrintToString(definition, &text));
    const WorkflowText read = ReadWorkflow(text);
    ASSERT_EQ(read.problems.size(), problems.size())
        << text << testing::PrintToString(Described(read.problems))
        << testing::PrintToString(Described(problems));
    for (const WorkflowProblem& problem : read.problems)
      EXPECT_EQ(problem.line() > 0, problem.column() > 0);
  }
  EXPECT_GT(sound, 500);
  EXPECT_GT(unsound, 500);
}

TEST(Check, OfAnyTextHarmsNobody) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 5'000; ++round) {
    std::string text = kSound;
    for (int changes = 1 + static_cast<int>(random() % 8); changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, random() % 8);
      }
    }
    for (const WorkflowProblem& problem : ReadWorkflow(text).problems) {
      v1::ValidateWorkflowResponse::Problem again;
      EXPECT_TRUE(again.ParseFromString(problem.SerializeAsString())) << "not UTF-8";
    }
  }
}

}  // namespace
}  // namespace sessiond
