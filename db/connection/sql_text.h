// A statement made at run time: its text, and the callers' values, never part of the text.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace sessiond::db {

// For Connection::QueueSql: `text` names its parameters $1, $2, …; a missing one is SQL NULL.
struct Sql {
  std::string text;
  std::vector<std::optional<std::string>> params;
};

}  // namespace sessiond::db
