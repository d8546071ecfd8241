// Rows of workflows → the catalogue, and definitions → rows.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// Adds every revision that load_workflows returned. One that cannot be parsed (a newer daemon's) is
// skipped, and logged.
void AddWorkflows(const Result& result, WorkflowCatalog& catalog);

// Which existing revision makes another of the same content unnecessary.
enum class Unless { kNewestIsSame, kAnyIsSame };

// Inserts the next revision of a valid definition, whatever its own revision says; read the result
// with ReadStoredWorkflow. It may be repeated: then the revision exists already.
Sql InsertWorkflowSql(const v1::Workflow& definition, Unless unless);

struct StoredWorkflow {
  int32_t revision;
  // The newest there was; 0 for none.
  int32_t newest_before;

  bool created() const { return revision > newest_before; }
};

// Nothing: another daemon inserted a revision at the same moment, and the statement must be run
// again.
std::optional<StoredWorkflow> ReadStoredWorkflow(const Result& result);

// Creates a revision of a definition that comes with the daemon, unless there is one of the same
// content. A revision created since stays the newest: the database is the source of truth.
absl::Status StoreWorkflow(Connection& connection, const v1::Workflow& definition,
                           SteadyTime deadline);

}  // namespace sessiond::db
