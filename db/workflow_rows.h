// Rows of workflows → the catalogue, and built-in definitions → rows.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/connection.h"
#include "server/state_machine/workflow_catalog.h"

namespace sessiond::db {

// Adds every revision that load_workflows answered. One that cannot be understood (a newer
// daemon's) is left out, and said in the log.
void AddWorkflows(const Result& result, WorkflowCatalog& catalog);

// Creates a new revision of `definition` unless the newest one is just this, as CreateWorkflow
// would.
absl::Status StoreWorkflow(Connection& connection, const v1::Workflow& definition,
                           absl::Time deadline);

}  // namespace sessiond::db
