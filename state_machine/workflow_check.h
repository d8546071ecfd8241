// Everything that is wrong with a workflow definition, said before any session follows it: each
// problem by the path of its field, with the way out.
#pragma once

#include <vector>

#include "sessiond/v1/workflow.pb.h"
#include "sessiond/v1/workflow_service.pb.h"

namespace sessiond {

// `path` as in `stages[2].required_fields[0]`. Lines and columns are for definitions that were read
// from text (workflow_text.h).
using WorkflowProblem = v1::ValidateWorkflowResponse::Problem;

// In the order of the definition's fields; nothing when it is sound. Its revision is not looked at.
// A definition with too many parts is told so first, and nothing else.
std::vector<WorkflowProblem> CheckWorkflow(const v1::Workflow& definition);

}  // namespace sessiond
