// Rows of sessions, and of what lies below them → Protobuf. The column lists are in
// db/sql/statements.h (kSessionColumns …), each made of a file in db/sql/columns, which says what
// the table is called there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/artifact.pb.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/task.pb.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// A session's columns end with those of its current task.
inline constexpr int kSessionColumnCount = 41;
// How many unresolved errors of severity BLOCKING there are; the session itself says only whether
// there are any.
inline constexpr int kBlockingErrorsColumn = 24;
inline constexpr int kEventColumnCount = 16;

// REQUIRES: the columns of that kind begin at `first_column`. Fields derived for a reader are left
// to Present (present.h).
void ReadSession(const Result& result, int row, int first_column, v1::Session* session);
void ReadTask(const Result& result, int row, int first_column, v1::SessionTask* task);
void ReadError(const Result& result, int row, int first_column, v1::SessionError* error);
void ReadArtifact(const Result& result, int row, int first_column, v1::SessionArtifact* artifact);
void ReadMessage(const Result& result, int row, int first_column, v1::SessionMessage* message);
void ReadEvent(const Result& result, int row, int first_column, v1::SessionEvent* event);

// REQUIRES: a tombstone's archived_at, namespace and owner_id begin at `first_column`.
Tombstone ReadTombstone(const Result& result, int row, int first_column);

}  // namespace sessiond::db
