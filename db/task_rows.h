// Rows of session_tasks → Protobuf. The column list itself is kTaskColumns in db/statements.h, made
// of db/sql/columns/task.txt; the table is called `t` there.
#pragma once

#include "db/connection.h"
#include "db/statements.h"
#include "sessiond/v1/task.pb.h"

namespace sessiond::db {

inline constexpr int kTaskColumnCount = 15;

// REQUIRES: kTaskColumns begin at `first_column`. Fields derived for a reader are left to
// Present (decide.h).
void ReadTask(const Result& result, int row, int first_column, v1::SessionTask* task);

}  // namespace sessiond::db
