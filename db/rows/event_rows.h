// Rows of session_events → Protobuf. The column list itself is kEventColumns in
// db/sql/statements.h, made of db/sql/columns/event.txt; the table is called `e` there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond::db {

inline constexpr int kEventColumnCount = 16;

// REQUIRES: kEventColumns begin at `first_column`.
void ReadEvent(const Result& result, int row, int first_column, v1::SessionEvent* event);

}  // namespace sessiond::db
