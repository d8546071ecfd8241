// What the work on many sessions asks the database: which sessions are due for it, a batch at a
// time. The work itself is commands, one a session.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"

namespace sessiond::db {

// A batch: as many sessions as a group takes.
inline constexpr int kBatchSessions = 256;

// Sessions that are due, and how many are due but held.
struct Batch {
  std::vector<std::string> session_ids;
  int due = 0;
  int held = 0;
};

// The sessions of an owner. `-` for all namespaces, here and below.
Sql OwnedSessionsSql(absl::string_view namespace_name, absl::string_view owner_id);
// The sessions with this reference; holds do not matter to it.
Sql ReferencingSessionsSql(absl::string_view namespace_name, absl::string_view name,
                           absl::string_view value);
// The sessions whose purge_time has passed; empty `workflow` for all.
Sql DueSessionsSql(absl::string_view namespace_name, absl::string_view workflow);
// Of all three.
Batch ReadBatch(const Result& result);

// What an erasure does beside its sessions: takes the owner's name off the tombstones of those that
// were archived before.
Sql ForgetOwnerSql(absl::string_view namespace_name, absl::string_view owner_id);

// What the database is: its id, its schema's version, PostgreSQL's version.
Sql DatabaseInfoSql();
struct DatabaseInfo {
  std::string database_id;
  int schema_version = 0;
  std::string postgres_version;
};
DatabaseInfo ReadDatabaseInfo(const Result& result);

}  // namespace sessiond::db
