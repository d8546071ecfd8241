// Finds everything that is wrong with a workflow definition before any session follows it: each
// problem has the path of its field and says how to fix it.
#pragma once

#include <vector>

#include "sessiond/v1/workflow.pb.h"
#include "sessiond/v1/workflow_service.pb.h"

namespace sessiond {

// `path` as in `stages[2].required_fields[0]`. Definitions that were read from text also have lines
// and columns (workflow_text.h).
using WorkflowProblem = v1::ValidateWorkflowResponse::Problem;

// In the order of the definition's fields; empty when it is valid. Its revision is not checked. For
// a definition with too many parts this is the only problem returned.
std::vector<WorkflowProblem> CheckWorkflow(const v1::Workflow& definition);

}  // namespace sessiond
