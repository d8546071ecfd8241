// Rows of session_messages → Protobuf. The column list itself is kMessageColumns in
// db/sql/statements.h, made of db/sql/columns/message.txt; the table is called `m` there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/message.pb.h"

namespace sessiond::db {

inline constexpr int kMessageColumnCount = 9;

// REQUIRES: kMessageColumns begin at `first_column`.
void ReadMessage(const Result& result, int row, int first_column, v1::SessionMessage* message);

}  // namespace sessiond::db
