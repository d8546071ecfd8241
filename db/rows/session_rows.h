// Rows of sessions → Protobuf. The column list itself is kSessionColumns in db/sql/statements.h,
// made of db/sql/columns/session.txt; the table is called `s` there, and its current task `t`.
#pragma once

#include "db/connection/connection.h"
#include "db/rows/task_rows.h"
#include "db/sql/statements.h"
#include "sessiond/v1/session.pb.h"
#include "state_machine/decide.h"

namespace sessiond::db {

inline constexpr int kSessionColumnCount = 26 + kTaskColumnCount;
// How many unresolved errors of severity BLOCKING there are; the session itself says only whether
// there are any.
inline constexpr int kBlockingErrorsColumn = 24;

// What kSessionColumns need besides `sessions s`. LIMIT forces a look-up for each session, instead
// of a join of all tasks.
inline constexpr char kCurrentTaskJoin[] =
    "LEFT JOIN LATERAL (SELECT * FROM session_tasks t"
    " WHERE t.partition = s.partition AND t.session_id = s.id LIMIT 1) t ON true";

// REQUIRES: kSessionColumns begin at `first_column`. Fields derived for a reader are left to
// Present (decide.h).
void ReadSession(const Result& result, int row, int first_column, v1::Session* session);

// REQUIRES: a tombstone's archived_at, namespace and owner_id begin at `first_column`.
Tombstone ReadTombstone(const Result& result, int row, int first_column);

}  // namespace sessiond::db
