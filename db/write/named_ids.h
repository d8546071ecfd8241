// What a command names by id below its session.
#pragma once

#include <string>
#include <vector>

#include "state_machine/decide.h"

namespace sessiond::db {

// Ids that have to be looked up before the command can be decided.
struct NamedIds {
  std::vector<std::string> errors, artifacts;
  // Ids that the caller supplies, and that must be new.
  std::vector<std::string> messages, tasks;
};
NamedIds NamedBy(const Command& command);

}  // namespace sessiond::db
