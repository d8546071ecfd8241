// What callers of the simulation ask for: commands of most kinds, such as fit the session more
// often than not.
#pragma once

#include <string>

#include "state_machine/decide.h"
#include "state_machine/workflow_catalog.h"
#include "tests/simulation/scheduler.h"

namespace sessiond::simulation {

// A change of a session that was just so.
Command DrawChange(const std::string& session_id, const Aggregate& aggregate, Random& random);
// Its creation; with no id, one is drawn.
Command DrawCreation(const std::string& session_id, const WorkflowCatalog& catalog, Random& random);
// What the daemon does itself, because a time has passed, or because an administrator asks it to.
Command DrawHousekeeping(const std::string& session_id, const Aggregate& aggregate, Random& random);

}  // namespace sessiond::simulation
