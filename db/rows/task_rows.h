// Rows of session_tasks → Protobuf. The column list itself is kTaskColumns in db/sql/statements.h,
// made of db/sql/columns/task.txt; the table is called `t` there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/task.pb.h"

namespace sessiond::db {

inline constexpr int kTaskColumnCount = 15;

// REQUIRES: kTaskColumns begin at `first_column`. Fields derived for a reader are left to
// Present (decide.h).
void ReadTask(const Result& result, int row, int first_column, v1::SessionTask* task);

}  // namespace sessiond::db
