// Rows of session_artifacts → Protobuf. The column list itself is kArtifactColumns in
// db/sql/statements.h, made of db/sql/columns/artifact.txt; the table is called `a` there.
#pragma once

#include "db/connection/connection.h"
#include "db/sql/statements.h"
#include "sessiond/v1/artifact.pb.h"

namespace sessiond::db {

inline constexpr int kArtifactColumnCount = 7;

// REQUIRES: kArtifactColumns begin at `first_column`.
void ReadArtifact(const Result& result, int row, int first_column, v1::SessionArtifact* artifact);

}  // namespace sessiond::db
