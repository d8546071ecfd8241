// The workflows that a daemon provides: the built-in ones, and those of the definitions directory.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sessiond/v1/workflow.pb.h"

namespace sessiond {

// Every `*.textproto` of the directory, by file name, all valid. FAILED_PRECONDITION: the directory
// or a file cannot be read; a definition is invalid, then the sentence begins with
// FILE:LINE:COLUMN; two files define one workflow.
absl::StatusOr<std::vector<v1::Workflow>> ReadWorkflowsDir(const std::string& directory);

// Those, and the built-in ones with other names. An empty `directory` has none.
absl::StatusOr<std::vector<v1::Workflow>> WorkflowsAtStart(const std::string& directory);

}  // namespace sessiond
