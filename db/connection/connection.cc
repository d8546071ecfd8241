#include "db/connection/connection.h"

#include <endian.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/base/internal/endian.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "db/base/sha256.h"
#include "db/connection/conninfo.h"
#include "db/connection/dial.h"
#include "db/connection/pinned_settings.h"
#include "db/connection/sql_error.h"

namespace sessiond::db {
namespace {

// PostgreSQL's type oids (pg_type.dat); fixed for ever.
constexpr int32_t kBoolOid = 16, kInt8Oid = 20, kInt2Oid = 21, kInt4Oid = 23, kTextOid = 25,
                  kInt8ArrayOid = 1016, kUuidOid = 2950, kTimestamptzOid = 1184, kJsonbOid = 3802;

constexpr int kBinary = 1;

// For SQL queued as text: more than the daemon has, but callers write filters of their own.
constexpr std::size_t kPreparedMax = 128;

// Times are sent as microseconds since 2000-01-01 UTC.
const absl::Time kPostgresEpoch = absl::FromUnixSeconds(946684800);

std::atomic<int> open_connections = 0;

// Waits for `events`. False at the deadline.
bool WaitFor(int socket, short events, SteadyTime deadline) {
  for (;;) {
    pollfd fd{socket, events, 0};
    const int ready = poll(&fd, 1, MillisecondsUntil(deadline));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (SteadyTime::Now() >= deadline) return false;
  }
}

// How many bytes the server's machine has not acknowledged yet.
int Unsent(int socket) {
  int bytes = 0;
  return ioctl(socket, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

// libpq's messages end in a line break and may have more inside.
std::string Trimmed(const char* message) {
  std::string text = absl::StrReplaceAll(message == nullptr ? "" : message, {{"\n\t", " "}});
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// Notes a warning of the server. What PL/pgSQL raises comes from its author, not from the server.
void NoteWarning(void* warned, const PGresult* notice) {
  const auto field = [notice](int code) -> absl::string_view {
    const char* text = PQresultErrorField(notice, code);
    return text == nullptr ? "" : text;
  };
  if (field(PG_DIAG_SEVERITY_NONLOCALIZED) == "WARNING" &&
      field(PG_DIAG_SOURCE_FUNCTION) != "exec_stmt_raise") {
    *static_cast<bool*>(warned) = true;
  }
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// BinaryParams

void BinaryParams::End() { ends_.push_back(buffer_.size()); }

namespace {

template <class Big>
void AppendRaw(std::string& buffer, Big big) {
  buffer.append(reinterpret_cast<const char*>(&big), sizeof big);
}
void Append4(std::string& buffer, int32_t value) {
  AppendRaw(buffer, htobe32(static_cast<uint32_t>(value)));
}
void Append8(std::string& buffer, int64_t value) {
  AppendRaw(buffer, htobe64(static_cast<uint64_t>(value)));
}

constexpr int32_t kNull = -1;

}  // namespace

void BinaryParams::AddInt4(int32_t value) {
  Append4(buffer_, value);
  End();
}
void BinaryParams::AddInt8(int64_t value) {
  Append8(buffer_, value);
  End();
}
void BinaryParams::AddTimestamp(absl::Time value) {
  AddInt8(absl::ToInt64Microseconds(value - kPostgresEpoch));
}
void BinaryParams::AddText(absl::string_view value) {
  buffer_.append(value.data(), value.size());
  End();
}

// An array on the wire: dimensions (1), whether it has nulls, element type, then for the dimension
// its size and its lower bound, then each element after its length (array_recv in PostgreSQL's
// arrayfuncs.c).
void BinaryParams::BeginArray(int32_t element_oid, std::size_t size) {
  Append4(buffer_, 1);
  Append4(buffer_, 0);
  Append4(buffer_, element_oid);
  Append4(buffer_, static_cast<int32_t>(size));
  Append4(buffer_, 1);
}

void BinaryParams::AddInt2Array(absl::Span<const int16_t> values) {
  BeginArray(kInt2Oid, values.size());
  for (const int16_t value : values) {
    Append4(buffer_, 2);
    AppendRaw(buffer_, htobe16(static_cast<uint16_t>(value)));
  }
  End();
}
void BinaryParams::AddInt8Array(absl::Span<const int64_t> values) {
  BeginArray(kInt8Oid, values.size());
  for (const int64_t value : values) {
    Append4(buffer_, 8);
    Append8(buffer_, value);
  }
  End();
}
void BinaryParams::AddTextArray(absl::Span<const std::optional<std::string>> values) {
  BeginArray(kTextOid, values.size());
  for (const std::optional<std::string>& value : values) {
    Append4(buffer_, value.has_value() ? static_cast<int32_t>(value->size()) : -1);
    buffer_.append(value.value_or(""));
  }
  End();
}
void BinaryParams::BeginRows(std::size_t size) {
  assert(!row_oid_at_.has_value());
  row_oid_at_ = buffer_.size() + 8;  // See BeginArray.
  BeginArray(0, size);
}

// A row on the wire: its size, how many fields it has, then of each its type, its size, and its
// value (record_recv in PostgreSQL's rowtypes.c). The first two are filled in at the end.
RowWriter::RowWriter(BinaryParams& params) : buffer_(params.buffer_), begin_(buffer_.size()) {
  Append4(buffer_, 0);
  Append4(buffer_, 0);
}

RowWriter::~RowWriter() {
  absl::big_endian::Store32(&buffer_[begin_], static_cast<uint32_t>(buffer_.size() - begin_ - 4));
  absl::big_endian::Store32(&buffer_[begin_ + 4], static_cast<uint32_t>(fields_));
}

void RowWriter::Begin(int32_t oid, int32_t size) {
  ++fields_;
  Append4(buffer_, oid);
  Append4(buffer_, size);
}

void RowWriter::Bool(bool value) {
  Begin(kBoolOid, 1);
  buffer_.push_back(value ? 1 : 0);
}
void RowWriter::Int2(int16_t value) {
  Begin(kInt2Oid, 2);
  AppendRaw(buffer_, htobe16(static_cast<uint16_t>(value)));
}
void RowWriter::Int4(int32_t value) {
  Begin(kInt4Oid, 4);
  Append4(buffer_, value);
}
void RowWriter::Int8(int64_t value) {
  Begin(kInt8Oid, 8);
  Append8(buffer_, value);
}
void RowWriter::Text(absl::string_view value) {
  Begin(kTextOid, static_cast<int32_t>(value.size()));
  buffer_.append(value.data(), value.size());
}
void RowWriter::Uuid(absl::string_view value) {
  assert(value.size() == 16);
  Begin(kUuidOid, 16);
  buffer_.append(value.data(), value.size());
}
void RowWriter::Jsonb(const std::optional<std::string>& value) {
  if (!value.has_value()) return Begin(kJsonbOid, kNull);
  Begin(kJsonbOid, static_cast<int32_t>(value->size() + 1));
  buffer_.push_back(1);  // The version of jsonb's wire format.
  buffer_.append(*value);
}
void RowWriter::Time(std::optional<absl::Time> value) {
  if (!value.has_value()) return Begin(kTimestamptzOid, kNull);
  Begin(kTimestamptzOid, 8);
  Append8(buffer_, absl::ToInt64Microseconds(*value - kPostgresEpoch));
}

// -------------------------------------------------------------------------------------------------
// Result

void Result::Clear::operator()(pg_result* result) const { PQclear(result); }

int Result::rows() const { return PQntuples(result_.get()); }
bool Result::IsNull(int row, int column) const {
  return PQgetisnull(result_.get(), row, column) != 0;
}

bool Result::Bool(int row, int column) const {
  assert(PQftype(result_.get(), column) == kBoolOid);
  return *PQgetvalue(result_.get(), row, column) != 0;
}
int16_t Result::Int2(int row, int column) const {
  assert(PQftype(result_.get(), column) == kInt2Oid);
  return static_cast<int16_t>(absl::big_endian::Load16(PQgetvalue(result_.get(), row, column)));
}
int32_t Result::Int4(int row, int column) const {
  assert(PQftype(result_.get(), column) == kInt4Oid);
  return static_cast<int32_t>(absl::big_endian::Load32(PQgetvalue(result_.get(), row, column)));
}
int64_t Result::Int8(int row, int column) const {
  assert(PQftype(result_.get(), column) == kInt8Oid);
  return static_cast<int64_t>(absl::big_endian::Load64(PQgetvalue(result_.get(), row, column)));
}
absl::Time Result::Timestamp(int row, int column) const {
  assert(PQftype(result_.get(), column) == kTimestamptzOid);
  const uint64_t micros = absl::big_endian::Load64(PQgetvalue(result_.get(), row, column));
  return kPostgresEpoch + absl::Microseconds(static_cast<int64_t>(micros));
}
absl::string_view Result::Text(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}
absl::string_view Result::Jsonb(int row, int column) const {
  assert(PQftype(result_.get(), column) == kJsonbOid);
  return Text(row, column).substr(1);  // After the version of jsonb's wire format.
}
int64_t Result::affected() const { return std::strtoll(PQcmdTuples(result_.get()), nullptr, 10); }
absl::string_view Result::tag() const { return PQcmdStatus(result_.get()); }

// See BinaryParams::BeginArray; an empty array has no dimension.
std::vector<int64_t> Result::Int8Array(int row, int column) const {
  assert(PQftype(result_.get(), column) == kInt8ArrayOid);
  absl::string_view bytes = Text(row, column);
  const auto take4 = [&bytes] {
    const auto value = static_cast<int32_t>(absl::big_endian::Load32(bytes.data()));
    bytes.remove_prefix(4);
    return value;
  };
  const int32_t dimensions = take4();
  bytes.remove_prefix(8);
  std::vector<int64_t> values(dimensions == 0 ? 0 : static_cast<std::size_t>(take4()));
  if (dimensions > 0) bytes.remove_prefix(4);
  for (int64_t& value : values) {
    bytes.remove_prefix(4);
    value = static_cast<int64_t>(absl::big_endian::Load64(bytes.data()));
    bytes.remove_prefix(8);
  }
  return values;
}

bool IsCommitted(const Result& commit) { return commit.tag() == "COMMIT" && !commit.warned(); }

// -------------------------------------------------------------------------------------------------
// Connection

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const ConnectionOptions& options,
                                                             SteadyTime deadline) {
  if (const auto info = ParseConnInfo(options.dsn); !info.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the connection string ", info.status().message()));
  }
  auto connection = std::unique_ptr<Connection>(new Connection);
  connection->expects_conflicts_ = options.expects_conflicts;
  const auto dialled = Dial(options.dsn, options.application_name, options.seen, deadline);
  if (!dialled.ok()) return dialled.status();
  pg_conn* conn = connection->conn_ = *dialled;
  PQsetNoticeReceiver(conn, NoteWarning, &connection->warned_);
  connection->counted_ = true;
  ++open_connections;
  if (PQsetnonblocking(conn, 1) != 0 || PQenterPipelineMode(conn) != 1)
    return connection->Lost("connecting");

  if (options.pinned) {
    for (const std::string& sql : PinSettingsSql()) connection->QueueSql(sql);
  }
  for (const auto& [name, value] : options.settings) {
    connection->QueueSql("SELECT set_config($1, $2, false)", {{name, value}});
  }
  if (auto done = connection->RoundTrip(deadline); !done.ok()) return done.status();
  connection->keep_sql_prepared_ = options.keep_sql_prepared;
  if (!options.statements.empty()) {
    if (auto prepared = connection->Prepare(options.statements, deadline); !prepared.ok())
      return prepared;
  }
  return connection;
}

absl::Status Connection::Prepare(absl::Span<const Statement* const> statements,
                                 SteadyTime deadline) {
  std::vector<absl::string_view> types;
  for (const Statement* statement : statements) {
    PQsendPrepare(conn_, statement->name, statement->sql, 0, nullptr);
    awaited_.push_back(false);
    const absl::string_view type = statement->row_type;
    if (type.empty() || !row_types_.try_emplace(type, 0).second) continue;
    types.push_back(type);
    QueueSql("SELECT $1::regtype::oid::integer", {{std::string(type)}});
  }
  const auto results = RoundTrip(deadline);
  if (!results.ok()) return results.status();
  for (std::size_t i = 0; i < types.size(); ++i) row_types_[types[i]] = (*results)[i].Int4(0, 0);
  return absl::OkStatus();
}

Connection::~Connection() { Close(); }

void Connection::Close() {
  if (conn_ != nullptr) PQfinish(conn_);
  conn_ = nullptr;
  if (std::exchange(counted_, false)) --open_connections;
}

void Connection::CloseAndWait(SteadyTime deadline) {
  if (conn_ == nullptr) return;
  // A backend closes its socket last, when its place is free again.
  const int socket = fcntl(PQsocket(conn_), F_DUPFD_CLOEXEC, 0);
  Close();
  char ignored[256];
  while (WaitFor(socket, POLLIN, deadline) && recv(socket, ignored, sizeof ignored, 0) > 0) {
  }
  close(socket);
}

int Connection::open_count() { return open_connections; }

absl::Status Connection::Lost(absl::string_view what) {
  const std::string said = Trimmed(conn_ == nullptr ? "out of memory" : PQerrorMessage(conn_));
  const std::string message = absl::StrCat(what, said.empty() ? "" : ": ", said);
  Close();
  queued_.clear();
  awaited_.clear();
  return ConnectionLost(message);
}

void Connection::Queue(const Statement& statement, BinaryParams params) {
  queued_.push_back({.statement = &statement, .params = std::move(params)});
}

void Connection::QueueSql(absl::string_view sql,
                          absl::Span<const std::optional<std::string>> params) {
  queued_.push_back({.sql = std::string(sql), .text_params = {params.begin(), params.end()}});
}

absl::Status Connection::Send() {
  if (conn_ == nullptr) return ConnectionLost("already lost");
  warned_ = false;
  for (Queued& queued : queued_) {
    if (!SendQueued(queued)) return Lost("sending");
  }
  queued_.clear();
  if (PQpipelineSync(conn_) != 1) return Lost("sending");
  return absl::OkStatus();
}

bool Connection::SendQueued(Queued& queued) {
  if (queued.statement == nullptr) return SendText(queued);
  if (const auto at = queued.params.row_oid_at_; at.has_value()) {
    absl::big_endian::Store32(&queued.params.buffer_[*at],
                              static_cast<uint32_t>(row_types_.at(queued.statement->row_type)));
  }
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::size_t begin = 0;
  for (const std::size_t end : queued.params.ends_) {
    values.push_back(queued.params.buffer_.data() + begin);
    lengths.push_back(static_cast<int>(end - begin));
    begin = end;
  }
  const std::vector<int> formats(values.size(), kBinary);
  awaited_.push_back(true);
  return PQsendQueryPrepared(conn_, queued.statement->name, static_cast<int>(values.size()),
                             values.data(), lengths.data(), formats.data(), kBinary) == 1;
}

bool Connection::SendText(const Queued& queued) {
  std::vector<const char*> values;
  for (const auto& param : queued.text_params) values.push_back(param ? param->c_str() : nullptr);
  const int count = static_cast<int>(values.size());
  std::optional<std::string> name;
  if (keep_sql_prepared_ && !(name = PreparedName(queued.sql))) return false;
  awaited_.push_back(true);
  if (name.has_value()) {
    return PQsendQueryPrepared(conn_, name->c_str(), count, values.data(), nullptr, nullptr,
                               kBinary) == 1;
  }
  return PQsendQueryParams(conn_, queued.sql.c_str(), count, nullptr, values.data(), nullptr,
                           nullptr, kBinary) == 1;
}

std::optional<std::string> Connection::PreparedName(const std::string& sql) {
  if (prepared_in_doubt_ || prepared_.size() >= kPreparedMax) {
    awaited_.push_back(false);
    if (PQsendQueryParams(conn_, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr,
                          kBinary) != 1) {
      return std::nullopt;
    }
    prepared_.clear();
    prepared_in_doubt_ = false;
  }
  std::string& name = prepared_[sql];
  if (name.empty()) {
    // Of the SQL: a pooler may give us a session in which another connection has prepared its own.
    name = absl::StrCat("sql_", Sha256Hex(sql).substr(0, 32));
    awaited_.push_back(false);
    if (PQsendPrepare(conn_, name.c_str(), sql.c_str(), 0, nullptr) != 1) return std::nullopt;
  }
  return name;
}

// Waits for the socket until the deadline, or until the callback for silences gives up. While our
// data is still being sent, and for one silence after that, the server is expected to send nothing.
absl::Status Connection::Await(short events, SteadyTime deadline) {
  int unsent = still_hears_ == nullptr ? 0 : Unsent(PQsocket(conn_));
  bool going_out = false;
  for (;;) {
    const SteadyTime silence =
        still_hears_ == nullptr ? SteadyTime::InfiniteFuture() : SteadyTime::Now() + silence_;
    if (WaitFor(PQsocket(conn_), events, std::min(deadline, silence))) return absl::OkStatus();
    if (silence >= deadline) return Lost("timed out");
    const int before = std::exchange(unsent, Unsent(PQsocket(conn_)));
    const bool was_going_out = std::exchange(going_out, unsent > 0 && unsent < before);
    if (going_out || was_going_out) continue;
    if (!still_hears_()) return Lost("fell silent");
  }
}

// Reads while it writes: else, with both directions full, neither side could go on.
absl::Status Connection::Flush(SteadyTime deadline) {
  for (;;) {
    const int left = PQflush(conn_);
    if (left == 0) return absl::OkStatus();
    if (left < 0) return Lost("sending");
    if (auto awaited = Await(POLLIN | POLLOUT, deadline); !awaited.ok()) return awaited;
    if (PQconsumeInput(conn_) != 1) return Lost("receiving");
  }
}

absl::Status Connection::WaitReadable(SteadyTime deadline) {
  while (PQisBusy(conn_) != 0) {
    if (auto awaited = Await(POLLIN, deadline); !awaited.ok()) return awaited;
    if (PQconsumeInput(conn_) != 1) return Lost("receiving");
  }
  return absl::OkStatus();
}

absl::Status Connection::SessionError(const pg_result* result) const {
  const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (sqlstate == nullptr) sqlstate = "08006";
  // Without the details, which quote the values of rows.
  const auto field = [result](int code) {
    const char* text = PQresultErrorField(result, code);
    return absl::string_view(text == nullptr ? "" : text);
  };
  return SqlError(sqlstate, "a round trip",
                  absl::StrCat(field(PG_DIAG_SEVERITY), ":  ", field(PG_DIAG_MESSAGE_PRIMARY)),
                  expects_conflicts_ && absl::StartsWith(sqlstate, "23"));
}

absl::StatusOr<std::vector<Result>> Connection::Receive(SteadyTime deadline) {
  if (conn_ == nullptr) return ConnectionLost("already lost");
  if (auto flushed = Flush(deadline); !flushed.ok()) return flushed;
  std::vector<Result> results;
  results.reserve(awaited_.size());
  std::size_t received = 0;
  bool warned_before = false;
  absl::Status error;
  // Each statement yields its result, then a null; the sync yields PGRES_PIPELINE_SYNC alone.
  for (;;) {
    if (auto readable = WaitReadable(deadline); !readable.ok()) return readable;
    PGresult* raw = PQgetResult(conn_);
    if (raw == nullptr) {
      // Also the answer of a connection that died midway.
      if (PQstatus(conn_) == CONNECTION_BAD) return Lost("receiving");
      continue;
    }
    const bool warned = std::exchange(warned_, false);
    Result result(raw, warned || warned_before);
    warned_before = warned;
    switch (PQresultStatus(raw)) {
      case PGRES_PIPELINE_SYNC:
        awaited_.clear();
        prepared_in_doubt_ |= !error.ok();
        if (!error.ok()) return error;
        return results;
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
        if (awaited_[received++]) results.push_back(std::move(result));
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      default:
        if (error.ok()) error = SessionError(raw);
        if (PQstatus(conn_) == CONNECTION_BAD) {
          const absl::Status lost = Lost("receiving");
          return SqlStateOf(error).empty() ? lost : error;
        }
    }
  }
}

absl::StatusOr<std::vector<Result>> Connection::RoundTrip(SteadyTime deadline) {
  if (auto sent = Send(); !sent.ok()) return sent;
  return Receive(deadline);
}

absl::StatusOr<Result> Connection::Query(absl::string_view sql, SteadyTime deadline,
                                         absl::Span<const std::optional<std::string>> params) {
  QueueSql(sql, params);
  auto results = RoundTrip(deadline);
  if (!results.ok()) return results.status();
  return std::move(results->front());
}

absl::Status Connection::Execute(const std::string& sql, SteadyTime deadline) {
  if (conn_ == nullptr) return ConnectionLost("already lost");
  warned_ = false;
  if (PQexitPipelineMode(conn_) != 1 || PQsendQuery(conn_, sql.c_str()) != 1)
    return Lost("sending");
  if (auto flushed = Flush(deadline); !flushed.ok()) return flushed;
  absl::Status error;
  // What the server said last tells more than that it then hung up.
  const auto lost = [&error](absl::Status why) { return error.ok() ? why : error; };
  for (;;) {
    if (auto readable = WaitReadable(deadline); !readable.ok()) return lost(readable);
    PGresult* raw = PQgetResult(conn_);
    if (raw == nullptr) break;
    const Result result(raw);
    const ExecStatusType status = PQresultStatus(raw);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && error.ok())
      error = SessionError(raw);
    if (result.tag() == "COMMIT" && warned_ && error.ok()) error = CommitInDoubt();
    if (PQstatus(conn_) == CONNECTION_BAD) return lost(Lost("receiving"));
  }
  if (PQstatus(conn_) == CONNECTION_BAD || PQenterPipelineMode(conn_) != 1)
    return lost(Lost("receiving"));
  return error;
}

}  // namespace sessiond::db
