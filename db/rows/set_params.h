// Parameters of set-based statements: the partitions concerned, and rows of one of the database's
// row types (migration 0003).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "db/connection/connection.h"

namespace sessiond::db {

// $1, by which a distributed PostgreSQL routes the statement, and $2, which `write` writes.
template <class Row, class Write>
BinaryParams SetParams(const std::vector<int16_t>& partitions, const std::vector<Row>& rows,
                       Write write) {
  BinaryParams params;
  params.AddInt2Array(partitions);
  params.AddRows(rows, write);
  return params;
}

// A session to be looked up: session_key.
struct SessionKey {
  int16_t partition;
  absl::string_view id;
  // Says which key a row of the result is for, if the row itself does not.
  int32_t ix = 0;
  // The sequence of the session as it is known; 0, which no session has, if unknown.
  int32_t sequence = 0;
};

inline void WriteSessionKey(const SessionKey& key, RowWriter& out) {
  out.Int2(key.partition);
  out.Text(key.id);
  out.Int4(key.ix);
  out.Int4(key.sequence);
}

// A row below a session, by its own id: named_key.
struct NamedKey {
  int16_t partition;
  std::string session_id, id;
};

inline void WriteNamedKey(const NamedKey& key, RowWriter& out) {
  out.Int2(key.partition);
  out.Text(key.session_id);
  out.Text(key.id);
}

}  // namespace sessiond::db
