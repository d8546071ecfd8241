// One libpq connection, used in round trips: statements are queued, sent together with one sync,
// and their results read together. libpq-fe.h stays behind this header.
//
//   Queue(a) Queue(b)  ──Send()──▶  a b Sync  ──▶ PostgreSQL
//   Receive()          ◀─────────   results of a, b, ReadyForQuery
//
// Waits by poll on a non-blocking socket, until a deadline; a connection whose deadline passed is
// closed, because it is unknown what it will answer next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/steady_time.h"
#include "db/connection/primary.h"
#include "db/connection/statement.h"

struct pg_conn;
struct pg_result;

namespace sessiond::db {

// The binary parameters of one statement, in PostgreSQL's wire format.
class BinaryParams {
 public:
  void AddInt4(int32_t value);
  void AddInt8(int64_t value);
  void AddText(absl::string_view value);
  void AddTimestamp(absl::Time value);
  void AddInt2Array(absl::Span<const int16_t> values);
  void AddInt8Array(absl::Span<const int64_t> values);
  // Nothing is NULL.
  void AddTextArray(absl::Span<const std::optional<std::string>> values);
  // One array of all rows, of the statement's row type: `write(row, out)` puts the fields of each
  // into a RowWriter, in the type's order. REQUIRES: called once for each statement.
  template <class Row, class Write>
  void AddRows(const std::vector<Row>& rows, Write write);

 private:
  friend class Connection;
  friend class RowWriter;
  void End();
  void BeginArray(int32_t element_oid, std::size_t size);
  void BeginRows(std::size_t size);

  // Offsets, not pointers, so that the buffer may grow.
  std::string buffer_;
  std::vector<std::size_t> ends_;
  // Where the row type's oid goes; each database has its own.
  std::optional<std::size_t> row_oid_at_;
};

// One row of BinaryParams::AddRows.
class RowWriter {
 public:
  explicit RowWriter(BinaryParams& params);
  ~RowWriter();
  RowWriter(const RowWriter&) = delete;

  void Bool(bool value);
  void Int2(int16_t value);
  void Int4(int32_t value);
  void Int8(int64_t value);
  void Text(absl::string_view value);
  // 16 raw bytes.
  void Uuid(absl::string_view value);
  // A missing value is SQL NULL.
  void Jsonb(const std::optional<std::string>& value);
  // A missing value is SQL NULL; nanoseconds are cut off.
  void Time(std::optional<absl::Time> value);

 private:
  void Begin(int32_t oid, int32_t size);

  std::string& buffer_;
  const std::size_t begin_;
  int32_t fields_ = 0;
};

template <class Row, class Write>
void BinaryParams::AddRows(const std::vector<Row>& rows, Write write) {
  BeginRows(rows.size());
  for (const Row& row : rows) {
    RowWriter out(*this);
    write(row, out);
  }
  End();
}

// The rows, or the command tag, of one statement. Columns are read in binary, by position; reading
// a column as another type than its own is a defect and asserts.
class Result {
 public:
  // `warned`: see below.
  explicit Result(pg_result* result, bool warned = false) : result_(result), warned_(warned) {}
  int rows() const;
  bool IsNull(int row, int column) const;
  bool Bool(int row, int column) const;
  int16_t Int2(int row, int column) const;
  int32_t Int4(int row, int column) const;
  int64_t Int8(int row, int column) const;
  absl::Time Timestamp(int row, int column) const;
  // Of one dimension, without nulls.
  std::vector<int64_t> Int8Array(int row, int column) const;
  // Also json and bytea. Valid as long as the result.
  absl::string_view Text(int row, int column) const;
  // jsonb, as its text. Valid as long as the result.
  absl::string_view Jsonb(int row, int column) const;
  // How many rows an INSERT, UPDATE or DELETE touched.
  int64_t affected() const;
  // The command's tag, for example `COMMIT`.
  absl::string_view tag() const;
  // Whether the server raised a warning at this statement, or at the one before it, which libpq
  // does not distinguish. Warnings by users' triggers and functions do not count.
  bool warned() const { return warned_; }

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
  bool warned_;
};

// Whether an answered COMMIT has committed, everywhere that it must. If it is cancelled while it
// waits for a synchronous standby, PostgreSQL answers with COMMIT and a warning; if the transaction
// had failed, with ROLLBACK.
bool IsCommitted(const Result& commit);

struct ConnectionOptions {
  // A libpq connection string or URL.
  std::string dsn;
  // Shown in pg_stat_activity.
  std::string application_name = "sessiond";
  // Settings of the session, by name, set when it opens; they override those of all connections
  // (pinned_settings.h).
  std::vector<std::pair<std::string, std::string>> settings;
  // Prepared when it opens.
  absl::Span<const Statement* const> statements;
  // Whether SQL that is queued as text is prepared when first queued: for connections that repeat
  // the same queries. REQUIRES: no `statements`.
  bool keep_sql_prepared = false;
  // Whether the settings of pinned_settings.h are set: not for a connection that only looks, and
  // may share another client's session.
  bool pinned = true;
  // Whether violated constraints (class 23) are expected, and so not logged.
  bool expects_conflicts = false;
  // How the primary is recognized, if the dsn names several hosts.
  Seen seen = {};
};

class Connection {
 public:
  // Connects to the primary among the hosts (dial.h), applies the settings and prepares the
  // statements. UNAVAILABLE: no server answers, or none is ready by `deadline`.
  // FAILED_PRECONDITION: the schema does not fit the statements. INVALID_ARGUMENT: the dsn is
  // malformed (see conninfo.h).
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const ConnectionOptions& options,
                                                          SteadyTime deadline);
  ~Connection();

  // Adds a prepared statement to the next round trip.
  void Queue(const Statement& statement, BinaryParams params = {});
  // Adds SQL with text parameters to the next round trip (a missing value is SQL NULL); results are
  // binary too.
  void QueueSql(absl::string_view sql, absl::Span<const std::optional<std::string>> params = {});

  // Sends what was queued, and a sync. Does not wait for the network.
  absl::Status Send();
  // Reads the results of what was sent, as many as were queued. An SQL error is a status with its
  // SQLSTATE (see sql_error.h); the statements after it were skipped. UNAVAILABLE: the connection
  // is lost, and closed.
  absl::StatusOr<std::vector<Result>> Receive(SteadyTime deadline);
  // Send and Receive.
  absl::StatusOr<std::vector<Result>> RoundTrip(SteadyTime deadline);
  // A round trip of one query. REQUIRES: nothing else is queued.
  absl::StatusOr<Result> Query(absl::string_view sql, SteadyTime deadline,
                               absl::Span<const std::optional<std::string>> params = {});

  // Runs one or more SQL commands in one string, without parameters, in a transaction of their own.
  // A COMMIT with a warning is an error (see IsCommitted).
  absl::Status Execute(const std::string& sql, SteadyTime deadline);

  // Called during a round trip each time that nothing has arrived for as long as SetSilence says:
  // false gives the connection up. The callee must not use this connection.
  void OnSilence(std::function<bool()> still_hears) { still_hears_ = std::move(still_hears); }
  void SetSilence(absl::Duration silence) { silence_ = silence; }

  // Closes the connection and waits until the server counts it no more.
  void CloseAndWait(SteadyTime deadline);

  // False once the connection was lost or given up; it never comes back.
  bool alive() const { return conn_ != nullptr; }

  // How many connections this process has open.
  static int open_count();

 private:
  struct Queued {
    const Statement* statement = nullptr;
    std::string sql;
    BinaryParams params;
    std::vector<std::optional<std::string>> text_params;
  };

  Connection() = default;
  absl::Status Lost(absl::string_view what);
  void Close();
  absl::Status Await(short events, SteadyTime deadline);
  absl::Status Flush(SteadyTime deadline);
  absl::Status WaitReadable(SteadyTime deadline);
  absl::Status SessionError(const pg_result* result) const;
  absl::Status Prepare(absl::Span<const Statement* const> statements, SteadyTime deadline);
  bool SendQueued(Queued& queued);
  bool SendText(const Queued& queued);
  // The name under which `sql` is prepared; prepares it if it is new. Nothing if sending fails.
  std::optional<std::string> PreparedName(const std::string& sql);

  pg_conn* conn_ = nullptr;
  bool counted_ = false;
  std::vector<Queued> queued_;
  // The oids of the statements' row types.
  absl::flat_hash_map<absl::string_view, int32_t> row_types_;
  // For each expected result: whether it belongs to a queued statement.
  std::vector<bool> awaited_;
  bool keep_sql_prepared_ = false;
  bool expects_conflicts_ = false;
  // SQL → its name. After an error it is unknown which of them exist.
  absl::flat_hash_map<std::string, std::string> prepared_;
  bool prepared_in_doubt_ = false;
  std::function<bool()> still_hears_;
  absl::Duration silence_ = absl::InfiniteDuration();
  // A warning has come since the last result.
  bool warned_ = false;
};

}  // namespace sessiond::db
