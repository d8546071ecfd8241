#include "db/legacy_reader.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/util/json_util.h"

namespace sessiond::db {
namespace {

// Rows fetched at once: enough to make trips rare; a row of messages may have a MiB.
constexpr int kRowsPerFetch = 100;

// What the session of the connection is: one snapshot of everything, all of it going to be read.
constexpr char kBegin[] = R"(
  SET TIME ZONE 'UTC';
  SET statement_timeout = 0;
  SET idle_in_transaction_session_timeout = 0;
  SET cursor_tuple_fraction = 1.0;
  BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
)";

std::string Trimmed(const char* message) {
  return std::string(absl::StripAsciiWhitespace(message == nullptr ? "" : message));
}

std::string Quoted(absl::string_view identifier) {
  return absl::StrCat("\"", absl::StrReplaceAll(identifier, {{"\"", "\"\""}}), "\"");
}

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Rows = std::unique_ptr<PGresult, ClearResult>;

std::optional<std::string> TextAt(const PGresult* rows, int row, int column) {
  if (PQgetisnull(rows, row, column) != 0) return std::nullopt;
  return std::string(PQgetvalue(rows, row, column),
                     static_cast<std::size_t>(PQgetlength(rows, row, column)));
}

// A column of the table as it is there.
struct Found {
  std::string name;
  std::string type;
};

// The names that the fields of a table have here. FAILED_PRECONDITION: a required one is missing.
absl::StatusOr<std::map<std::string, std::string>> ColumnsOf(const LegacyTable& table,
                                                             const std::vector<Found>& there) {
  std::map<std::string, std::string> columns;
  for (const LegacyColumn& column : table.columns) {
    for (const char* name : column.names) {
      const bool found = std::any_of(there.begin(), there.end(),
                                     [name](const Found& one) { return one.name == name; });
      if (found && columns.emplace(column.field, name).second) break;
    }
    if (column.required && columns.count(column.field) == 0) {
      return absl::FailedPreconditionError(absl::StrCat("The table ", table.name, " has no column ",
                                                        absl::StrJoin(column.names, " or ")));
    }
  }
  return columns;
}

// The rows of a table as JSON, in the order of the session's key, then of time and id. Contents of
// files are left out; numbers that a double cannot hold travel as text.
std::string SelectOf(const LegacyTable& table, const std::vector<Found>& there,
                     const std::map<std::string, std::string>& columns) {
  std::vector<std::string> values;
  for (const Found& one : there) {
    if (one.type == "bytea") continue;
    const bool wide = one.type == "bigint" || one.type == "numeric";
    values.push_back(
        absl::StrCat("t.", Quoted(one.name), wide ? "::text AS " : " AS ", Quoted(one.name)));
  }
  const std::string key = absl::StrCat("t.", Quoted(columns.at("session_id")), "::text");
  std::string order = absl::StrCat(key, " COLLATE \"C\"");
  for (const char* field : {"start_time", "create_time", "id"}) {
    if (const auto column = columns.find(field); column != columns.end()) {
      absl::StrAppend(&order, ", t.", Quoted(column->second));
    }
  }
  return absl::StrCat("SELECT ", key, ", (SELECT row_to_json(r)::text FROM (SELECT ",
                      absl::StrJoin(values, ", "), ") r) FROM ", Quoted(table.name), " t ORDER BY ",
                      order);
}

}  // namespace

// ---- Database: a connection that waits for each answer

class LegacyReader::Database {
 public:
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& url) {
    auto database = std::make_unique<Database>();
    // What the URL says comes behind, and wins.
    const char* const keywords[] = {"connect_timeout", "fallback_application_name",
                                    "client_encoding", "dbname", nullptr};
    const char* const values[] = {"10", "sessionctl import", "UTF8", url.c_str(), nullptr};
    database->connection_ = PQconnectdbParams(keywords, values, /*expand_dbname=*/1);
    PGconn* connection = database->connection_;
    if (PQstatus(connection) != CONNECTION_OK) {
      return absl::UnavailableError(Trimmed(PQerrorMessage(connection)));
    }
    PQsetNoticeReceiver(
        connection, [](void*, const PGresult*) {}, nullptr);
    return database;
  }
  ~Database() { PQfinish(connection_); }

  // One or more statements.
  absl::Status Execute(const std::string& sql) {
    return Checked(Rows(PQexec(connection_, sql.c_str()))).status();
  }
  // One statement with at most one parameter; columns as text.
  absl::StatusOr<Rows> Query(const std::string& sql, const char* parameter = nullptr) {
    return Checked(Rows(PQexecParams(connection_, sql.c_str(), parameter == nullptr ? 0 : 1,
                                     nullptr, &parameter, nullptr, nullptr, /*resultFormat=*/0)));
  }

 private:
  absl::StatusOr<Rows> Checked(Rows rows) {
    const ExecStatusType status = PQresultStatus(rows.get());
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return rows;
    const std::string message = Trimmed(PQerrorMessage(connection_));
    if (PQstatus(connection_) != CONNECTION_OK) return absl::UnavailableError(message);
    return absl::FailedPreconditionError(message);
  }

  PGconn* connection_ = nullptr;
};

// ---- Cursor: the rows of one table, in their order

class LegacyReader::Cursor {
 public:
  Cursor(Database& database, const LegacyTable& table, std::map<std::string, std::string> columns)
      : database_(database), table_(table), columns_(std::move(columns)) {}

  absl::Status Open(const std::vector<Found>& there) {
    return database_.Execute(absl::StrCat("DECLARE ", Name(), " NO SCROLL CURSOR FOR ",
                                          SelectOf(table_, there, columns_)));
  }

  // Whether there is another row; reads more when need be.
  absl::StatusOr<bool> Ready() {
    if (!ended_ && (rows_ == nullptr || row_ == PQntuples(rows_.get()))) {
      auto rows = database_.Query(absl::StrCat("FETCH ", kRowsPerFetch, " FROM ", Name()));
      if (!rows.ok()) return rows.status();
      rows_ = *std::move(rows);
      row_ = 0;
      ended_ = PQntuples(rows_.get()) == 0;
    }
    return !ended_;
  }

  // Of the present row. REQUIRES: Ready() answered true.
  std::optional<std::string> Key() const { return TextAt(rows_.get(), row_, 0); }
  const LegacyTable& table() const { return table_; }

  // Takes the present row. What makes it unreadable is among `problems`.
  std::optional<LegacyRow> Take(std::vector<std::string>& problems) {
    const std::string json = TextAt(rows_.get(), row_++, 1).value_or("{}");
    google::protobuf::Struct values;
    const auto parsed = google::protobuf::util::JsonStringToMessage(json, &values);
    if (!parsed.ok()) {
      problems.push_back(
          absl::StrCat(table_.name, ": a row cannot be read: ", std::string(parsed.message())));
      return std::nullopt;
    }
    return LegacyRow(table_, columns_, std::move(values), problems);
  }

 private:
  std::string Name() const { return absl::StrCat("legacy_", table_.name); }

  Database& database_;
  const LegacyTable& table_;
  const std::map<std::string, std::string> columns_;
  Rows rows_;
  int row_ = 0;
  bool ended_ = false;
};

// ---- LegacyReader

LegacyReader::LegacyReader(const Options& options) : options_(options) {}
LegacyReader::~LegacyReader() = default;

absl::StatusOr<std::unique_ptr<LegacyReader>> LegacyReader::Open(const Options& options) {
  std::unique_ptr<LegacyReader> reader(new LegacyReader(options));
  auto database = Database::Open(options.url);
  if (!database.ok()) return database.status();
  reader->database_ = *std::move(database);
  if (absl::Status begun = reader->Begin(); !begun.ok()) return begun;
  return reader;
}

absl::Status LegacyReader::Begin() {
  if (absl::Status begun = database_->Execute(kBegin); !begun.ok()) return begun;
  for (const LegacyTable& table : TablesOf(options_.layout)) {
    const auto rows = database_->Query(
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table.name);
    if (!rows.ok()) return rows.status();
    std::vector<Found> there;
    for (int i = 0; i < PQntuples(rows->get()); ++i) {
      there.push_back({*TextAt(rows->get(), i, 0), *TextAt(rows->get(), i, 1)});
    }
    if (there.empty() && table.part == LegacyPart::kSession) {
      return absl::FailedPreconditionError(
          absl::StrCat("There is no table ", table.name, " in the search path"));
    }
    if (there.empty()) {
      notes_.push_back(absl::StrCat("There is no table ", table.name, ": nothing is read from it"));
      continue;
    }
    auto columns = ColumnsOf(table, there);
    if (!columns.ok()) return columns.status();
    cursors_.push_back(std::make_unique<Cursor>(*database_, table, *std::move(columns)));
    if (absl::Status opened = cursors_.back()->Open(there); !opened.ok()) return opened;
  }
  const auto count = database_->Query(
      absl::StrCat("SELECT count(*) FROM ", Quoted(cursors_.front()->table().name)));
  if (!count.ok()) return count.status();
  total_ = std::strtoll(PQgetvalue(count->get(), 0, 0), nullptr, 10);
  return absl::OkStatus();
}

// Rows that belong to no session come up before the session behind them, and after the last one.
absl::StatusOr<std::optional<LegacyReader::Session>> LegacyReader::NextOrphan(
    const std::optional<std::string>& key, bool sessions_ended) {
  for (auto cursor = std::next(cursors_.begin()); cursor != cursors_.end(); ++cursor) {
    const auto ready = (*cursor)->Ready();
    if (!ready.ok()) return ready.status();
    if (!*ready) continue;
    const std::optional<std::string> of = (*cursor)->Key();
    // No key is behind every other, as PostgreSQL orders them.
    const bool passed = of.has_value() && (!key.has_value() || *of < *key);
    if (!passed && !sessions_ended) continue;
    Session orphan;
    if (const auto row = (*cursor)->Take(orphan.problems)) {
      row->Refuse("session_id",
                  of.has_value() ? absl::StrCat(*of, " is of no session") : "is null");
    }
    return orphan;
  }
  return std::nullopt;
}

absl::Status LegacyReader::TakeRows(const std::string& key, Session& session) {
  for (auto cursor = std::next(cursors_.begin()); cursor != cursors_.end(); ++cursor) {
    while (true) {
      const auto ready = (*cursor)->Ready();
      if (!ready.ok()) return ready.status();
      if (!*ready || (*cursor)->Key() != key) break;
      if (const auto row = (*cursor)->Take(session.problems)) {
        AddLegacyRow(options_.layout, *row, session.request);
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<LegacyReader::Session>> LegacyReader::Next() {
  Cursor& sessions = *cursors_.front();
  const auto ready = sessions.Ready();
  if (!ready.ok()) return ready.status();
  const std::optional<std::string> key = *ready ? sessions.Key() : std::nullopt;
  auto orphan = NextOrphan(key, /*sessions_ended=*/!*ready);
  if (!orphan.ok() || orphan->has_value() || !*ready) return orphan;

  Session session;
  session.request.mutable_session()->set_session_id(LegacyId(key.value_or("")));
  if (const auto row = sessions.Take(session.problems)) {
    AddLegacyRow(options_.layout, *row, session.request);
  }
  if (key.has_value()) {
    if (absl::Status taken = TakeRows(*key, session); !taken.ok()) return taken;
  }
  session.request.mutable_session()->set_namespace_(options_.session_namespace);
  CompleteLegacySession(options_.layout, session.request);
  return session;
}

}  // namespace sessiond::db
