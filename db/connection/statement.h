// SQL that is part of the binary: prepared statements (db/sql) and migrations
// (db/migrations/migrations).
#pragma once

namespace sessiond::db {

// A statement that connections prepare under `name` when they open.
struct Statement {
  const char* name;
  const char* sql;
  // The type of its parameter rows (BinaryParams::AddRows); empty if it has none.
  const char* row_type = "";
};

// One numbered step of the schema.
struct Migration {
  int version;
  const char* name;
  const char* sql;
};

}  // namespace sessiond::db
