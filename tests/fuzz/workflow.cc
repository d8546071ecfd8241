// Definitions of workflows: as text, or as a message. The first byte says which.
#include "state_machine/workflow.h"

#include <google/protobuf/text_format.h>

#include <string>

#include "state_machine/workflow_check.h"
#include "state_machine/workflow_text.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;

void CheckProblem(const WorkflowProblem& problem) {
  Expect(!problem.description().empty(), "A problem says what is wrong.", problem.path());
  fuzz::ExpectReadable(Describe(problem));
}

void CheckText(absl::string_view text) {
  const WorkflowText read = ReadWorkflow(text);
  for (const WorkflowProblem& problem : read.problems) CheckProblem(problem);
  const auto parsed = Workflow::Parse(std::string(text));
  Expect(parsed.ok() == read.problems.empty(), "A definition is taken if it has no problems.");
  if (!parsed.ok()) return fuzz::ExpectReadable(parsed.status().message());
  std::string printed;
  Expect(google::protobuf::TextFormat::PrintToString(read.definition, &printed), "It is text.");
  const WorkflowText again = ReadWorkflow(printed);
  Expect(again.problems.empty(), "What is printed is a definition.", printed);
  Expect(fuzz::BytesOf(again.definition) == fuzz::BytesOf(read.definition),
         "It is the same definition.", printed);
}

}  // namespace

FUZZ_INPUT(input) {
  const bool as_text = input.Byte() % 2 == 0;
  if (as_text) return CheckText(input.Rest());
  v1::Workflow definition;
  if (!definition.ParseFromArray(input.Rest().data(), static_cast<int>(input.Rest().size())))
    return;
  const auto problems = CheckWorkflow(definition);
  for (const WorkflowProblem& problem : problems) CheckProblem(problem);
  definition.set_revision(1);
  if (problems.empty()) Expect(Workflow::Make(definition).ok(), "A sound definition is taken.");
}

}  // namespace sessiond
