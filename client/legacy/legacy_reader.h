// Reads the sessions of the three previous applications from their own PostgreSQL, one by one: the
// rows of a session are merged from one cursor for each table, all ordered by the session's key.
// The old database needs no index, and at most some hundred rows are in memory here.
//
//   sessions        a      b      c
//   session_tasks   a a           c        ──▶  a + its rows, b, c + its rows
//   session_errors    a           c c
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/legacy/legacy_database.h"
#include "client/legacy/legacy_rows.h"
#include "sessiond/v1/admin_service.pb.h"

namespace sessiond::db {

class LegacyReader {
 public:
  struct Options {
    std::string url;  // A libpq connection string or URL.
    LegacyLayout layout;
    std::string session_namespace;  // For all sessions; empty for the default.
    std::string encoding;           // Of a SQL_ASCII database; empty for UTF-8.
  };
  struct Session {
    v1::ImportSessionsRequest request;  // Without `line`.
    // Why it cannot be imported, a sentence each; usually none. Also for rows that belong to no
    // session: the request has no session then.
    std::vector<std::string> problems;
    // What is not imported, or was changed; also a sentence each.
    std::vector<std::string> remarks;
  };

  // Connects, and reads the layout of the tables. REQUIRES: called before there are threads
  // (legacy_database.h). UNAVAILABLE: no server responds, or it refuses us. FAILED_PRECONDITION:
  // the tables do not have this layout; says what is missing. PERMISSION_DENIED: not all rows may
  // be read; says what would help. INVALID_ARGUMENT: the encoding is unknown.
  static absl::StatusOr<std::unique_ptr<LegacyReader>> Open(const Options& options);
  ~LegacyReader();

  // The number of sessions.
  int64_t total() const { return total_; }
  // What a person should know before the import: tables and columns that are not read.
  const std::vector<std::string>& notes() const { return notes_; }

  // The next one; nothing at the end. UNAVAILABLE or FAILED_PRECONDITION when the database fails.
  absl::StatusOr<std::optional<Session>> Next();

 private:
  class Cursor;

  explicit LegacyReader(const Options& options);
  absl::Status Begin();
  absl::Status OpenCursor(const LegacyTable& table);
  // The next row that belongs to no session, as far as that is known before the session of `key`.
  absl::StatusOr<std::optional<Session>> NextOrphan(const std::optional<std::string>& key,
                                                    bool sessions_ended);
  // Takes the rows that belong to `key` from all tables but the sessions' own.
  absl::Status TakeRows(const std::string& key, LegacyFindings& findings,
                        v1::ImportSessionsRequest& request);

  const Options options_;
  std::unique_ptr<LegacyDatabase> database_;
  std::vector<std::unique_ptr<Cursor>> cursors_;  // The sessions' own first.
  std::optional<std::string> last_key_;           // The previous session's.
  int64_t total_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace sessiond::db
