// The state machines as pictures: Mermaid, printed from the tables that decide.
#pragma once

#include <string>

#include "state_machine/workflow.h"

namespace sessiond {

// The lifecycle: the states, and the calls that lead from one to another.
std::string LifecycleDiagram();
// A workflow's stages; empty for a workflow without any.
std::string StageDiagram(const Workflow& workflow);
// A workflow's statuses as a Markdown table: in order, with the conditions of each.
std::string StatusTable(const Workflow& workflow);
// What each state accepts, as a Markdown table.
std::string AcceptanceTable();

}  // namespace sessiond
