// Rows of sessions → Protobuf. The column list itself is kSessionColumns in db/statements.h, made
// of db/sql/columns/session.txt; the table is called `s` there.
#pragma once

#include "db/connection.h"
#include "db/statements.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond::db {

inline constexpr int kSessionColumnCount = 24;

// REQUIRES: kSessionColumns begin at `first_column`. Fields derived for a reader are left to
// Present (decide.h).
void ReadSession(const Result& result, int row, int first_column, v1::Session* session);

}  // namespace sessiond::db
