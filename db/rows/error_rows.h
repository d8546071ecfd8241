// Rows of session_errors → Protobuf. The column list itself is kErrorColumns in
// db/sql/statements.h, made of db/sql/columns/error.txt; the table is called `x` there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/error.pb.h"

namespace sessiond::db {

inline constexpr int kErrorColumnCount = 15;

// REQUIRES: kErrorColumns begin at `first_column`. Fields derived for a reader are left to
// Present (decide.h).
void ReadError(const Result& result, int row, int first_column, v1::SessionError* error);

}  // namespace sessiond::db
