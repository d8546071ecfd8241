// Workflow definitions as people write them: textproto, each problem with its line and column.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "sessiond/v1/workflow.pb.h"
#include "state_machine/workflow_check.h"

namespace sessiond {

struct WorkflowText {
  // Complete when there are no problems.
  v1::Workflow definition;
  // By line and column. For text that could not be parsed only where and why, without a path.
  std::vector<WorkflowProblem> problems;
};

WorkflowText ReadWorkflow(absl::string_view textproto);

// `12:3: stages[1].name: …`, as far as known.
std::string Describe(const WorkflowProblem& problem);

}  // namespace sessiond
