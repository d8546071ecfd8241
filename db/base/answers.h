// What the store answers with, if it is not a message of the contract.
#pragma once

#include <string>
#include <vector>

#include "sessiond/v1/session_event.pb.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// A batch: as many sessions as a group takes.
inline constexpr int kBatchSessions = 256;

// Sessions that are due, and how many are due but held.
struct Batch {
  std::vector<std::string> session_ids;
  int due = 0;
  int held = 0;
};

// A session with its newest files and open errors, or its tombstone; and what its events say about
// imports.
struct ImportedSession {
  Aggregate aggregate;
  std::vector<v1::SessionEvent> imports;
};

// What is known about the database.
struct DatabaseInfo {
  std::string database_id;
  int schema_version = 0;
  std::string postgres_version;
};

}  // namespace sessiond::db
