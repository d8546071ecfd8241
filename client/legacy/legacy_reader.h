// Reads the sessions of the three applications that came before, out of their own PostgreSQL, one
// by one: the rows that belong to a session are merged from one cursor for each table, all ordered
// by the session's key. Nothing needs an index there, and no more than some hundred rows are held
// here.
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
    std::string session_namespace;  // What the sessions are given; empty for the default.
    std::string encoding;           // Of a SQL_ASCII database; empty for UTF-8.
  };
  struct Session {
    v1::ImportSessionsRequest request;  // Without `line`.
    // Why it cannot be taken, a sentence each; none, as a rule. Also rows that belong to no
    // session: the request has no session then.
    std::vector<std::string> problems;
    // What of it is not taken over, or not as it was; also a sentence each.
    std::vector<std::string> remarks;
  };

  // Connects, and finds out what the tables are made of. REQUIRES: called before there are threads
  // (legacy_database.h). UNAVAILABLE: nobody is there, or does not
  // let us in. FAILED_PRECONDITION: the tables are not of this layout; says what is missing.
  // PERMISSION_DENIED: not all rows may be read; says what would help. INVALID_ARGUMENT: the
  // encoding is none.
  static absl::StatusOr<std::unique_ptr<LegacyReader>> Open(const Options& options);
  ~LegacyReader();

  // How many sessions there are.
  int64_t total() const { return total_; }
  // What a person should know before it begins: tables and columns that are not read.
  const std::vector<std::string>& notes() const { return notes_; }

  // The next one; nothing at the end. UNAVAILABLE or FAILED_PRECONDITION when the database does not
  // go on.
  absl::StatusOr<std::optional<Session>> Next();

 private:
  class Cursor;

  explicit LegacyReader(const Options& options);
  absl::Status Begin();
  absl::Status OpenCursor(const LegacyTable& table);
  // The next row that belongs to no session, as far as that is known before the session of `key`.
  absl::StatusOr<std::optional<Session>> NextOrphan(const std::optional<std::string>& key,
                                                    bool sessions_ended);
  // Takes the rows of all tables but the sessions' own that belong to `key`.
  absl::Status TakeRows(const std::string& key, LegacyFindings& findings,
                        v1::ImportSessionsRequest& request);

  const Options options_;
  std::unique_ptr<LegacyDatabase> database_;
  std::vector<std::unique_ptr<Cursor>> cursors_;  // The sessions' own first.
  std::optional<std::string> last_key_;           // Of the session before.
  int64_t total_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace sessiond::db
