// Rows of workflows → the catalogue, and definitions → rows.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// Adds every revision that load_workflows answered. One that cannot be understood (a newer
// daemon's) is left out, and said in the log.
void AddWorkflows(const Result& result, WorkflowCatalog& catalog);

// Which revision makes another of the same content unnecessary.
enum class Unless { kNewestIsSame, kAnyIsSame };

// Inserts the next revision of a sound definition, whatever its own revision says; read it with
// ReadStoredWorkflow. It may be run again: then it is there.
Sql InsertWorkflowSql(const v1::Workflow& definition, Unless unless);

struct StoredWorkflow {
  int32_t revision;
  // The newest there was; 0 for none.
  int32_t newest_before;

  bool created() const { return revision > newest_before; }
};

// Nothing: somebody else inserted a revision at the same moment, and the statement is to be run
// again.
std::optional<StoredWorkflow> ReadStoredWorkflow(const Result& result);

// Creates a revision of a definition that the daemon brings along, unless there is one of the same
// content. What was created since stays the newest: the database is the truth.
absl::Status StoreWorkflow(Connection& connection, const v1::Workflow& definition,
                           SteadyTime deadline);

}  // namespace sessiond::db
