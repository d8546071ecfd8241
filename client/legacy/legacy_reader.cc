#include "client/legacy/legacy_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/legacy/exact_json.h"

namespace sessiond::db {
namespace {

// Rows per fetch: enough to make round trips rare; a row of messages may have a MiB.
constexpr int kRowsPerFetch = 100;

std::string Quoted(absl::string_view identifier) {
  return absl::StrCat("\"", absl::StrReplaceAll(identifier, {{"\"", "\"\""}}), "\"");
}

// ---- what is there

// How a column is sent.
enum class Travel {
  kJson,
  kDigits,  // Numbers that a double may not hold: as SQL's text.
  kDigitsList,
  kFloats,  // Numbers of JSON, or lists of them; but for NaN and Infinity, which are texts there.
  kText,    // Texts of fixed length: as SQL's text, without trailing blanks.
  kTextList,
  kSize,  // The contents of files are not read, only their size.
};

// A column of the actual table.
struct Found {
  std::string name;       // On the wire.
  std::string utf8_name;  // For people.
  Travel travel;
};

// An actual table.
struct Place {
  std::string oid, name;  // The name with its schema, quoted.
  bool hides_rows;        // By row-level security, from us.
};

// The types beneath domains, and of arrays the element type. By number; the numbers never change.
constexpr char kColumns[] = R"(
  WITH RECURSIVE base (attnum, attname, typid) AS (
    SELECT attnum, attname, atttypid
    FROM pg_catalog.pg_attribute
    WHERE attrelid = $1::pg_catalog.oid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT b.attnum, b.attname, t.typbasetype
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typid
    WHERE t.typtype = 'd')
  SELECT b.attname, pg_catalog.to_json(b.attname::pg_catalog.text), t.oid,
         CASE t.typcategory WHEN 'A' THEN t.typelem ELSE 0 END
  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typid
  WHERE t.typtype <> 'd'
  ORDER BY b.attnum)";

Travel TravelOf(absl::string_view type, absl::string_view element) {
  constexpr absl::string_view kBytea = "17", kBigint = "20", kNumeric = "1700", kChar = "1042",
                              kFloat4 = "700", kFloat8 = "701";
  if (type == kBytea) return Travel::kSize;
  if (type == kBigint || type == kNumeric) return Travel::kDigits;
  if (element == kBigint || element == kNumeric) return Travel::kDigitsList;
  for (const absl::string_view of : {type, element}) {
    if (of == kFloat4 || of == kFloat8) return Travel::kFloats;
  }
  if (type == kChar) return Travel::kText;
  return element == kChar ? Travel::kTextList : Travel::kJson;
}

constexpr char kPlace[] = R"(
  SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
         pg_catalog.row_security_active(c.oid)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))";

// Where else there is a table of this name; and whether its schema is in the search path, but the
// role may not use it.
constexpr char kElsewhere[] = R"(
  SELECT n.nspname, current_user,
         NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND n.nspname = ANY (
           SELECT CASE pg_catalog.btrim(s) WHEN '"$user"' THEN current_user
                                           ELSE pg_catalog.btrim(pg_catalog.btrim(s), '"') END
           FROM pg_catalog.unnest(pg_catalog.string_to_array(
                  pg_catalog.current_setting('search_path'), ',')) s)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  ORDER BY 3 DESC, 1
  LIMIT 1)";

// The actual column names for the fields of a table. FAILED_PRECONDITION: a required one is
// missing.
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

// The rows of a table: the session's key, then every column as JSON by itself, so that names cannot
// conflict; in the order of the key's bytes.
std::string SelectOf(const std::string& table, const std::string& key_column,
                     const std::vector<Found>& there) {
  const std::string key =
      absl::StrCat("t.", Quoted(key_column), "::pg_catalog.text COLLATE pg_catalog.\"C\"");
  std::vector<std::string> values = {key};
  for (const Found& one : there) {
    const std::string column = absl::StrCat("t.", Quoted(one.name));
    switch (one.travel) {
      case Travel::kJson:
      case Travel::kFloats:
        values.push_back(absl::StrCat("pg_catalog.to_json(", column, ")::pg_catalog.text"));
        break;
      case Travel::kDigits:
      case Travel::kText:
        values.push_back(
            absl::StrCat("pg_catalog.to_json(", column, "::pg_catalog.text)::pg_catalog.text"));
        break;
      case Travel::kDigitsList:
      case Travel::kTextList:
        values.push_back(
            absl::StrCat("pg_catalog.to_json(", column, "::pg_catalog.text[])::pg_catalog.text"));
        break;
      case Travel::kSize:
        values.push_back(absl::StrCat("pg_catalog.octet_length(", column, ")::pg_catalog.text"));
        break;
    }
  }
  return absl::StrCat("SELECT ", absl::StrJoin(values, ", "), " FROM ", table, " t ORDER BY 1");
}

// What would allow all rows of a table to be read.
absl::Status NotAllMayBeRead(const LegacyTable& table, absl::string_view why) {
  return absl::PermissionDeniedError(
      absl::StrCat("Not all of the table ", table.name, " can be read: ", why,
                   ". Read it as its owner, or as a role with BYPASSRLS that was granted SELECT on "
                   "it and USAGE on its schema"));
}

}  // namespace

// ---- Cursor: the rows of one table, in their order

class LegacyReader::Cursor {
 public:
  Cursor(LegacyDatabase& database, const LegacyTable& table,
         std::map<std::string, std::string> columns, std::vector<Found> there)
      : database_(database),
        table_(table),
        columns_(std::move(columns)),
        there_(std::move(there)) {}

  absl::Status Open(const std::string& name) {
    const auto declared =
        database_.Query(absl::StrCat("DECLARE ", Name(), " NO SCROLL CURSOR FOR ",
                                     SelectOf(name, columns_.at("session_id"), there_)));
    if (absl::IsPermissionDenied(declared.status())) {
      return NotAllMayBeRead(table_, declared.status().message());
    }
    return declared.status();
  }

  // Whether there is another row; fetches more if necessary.
  absl::StatusOr<bool> Ready() {
    if (!ended_ && row_ == keys_.size()) {
      if (absl::Status fetched = Fetch(); !fetched.ok()) return fetched;
    }
    return !ended_;
  }

  // For the present row, in the database's own bytes. REQUIRES: Ready() returned true.
  const std::optional<std::string>& Key() const { return keys_[row_]; }
  const LegacyTable& table() const { return table_; }

  // Takes the present row.
  LegacyRow Take(LegacyFindings& findings) {
    return LegacyRow(table_, columns_, std::move(cells_[row_++]), findings);
  }

 private:
  std::string Name() const { return absl::StrCat("legacy_", table_.name); }

  absl::Status Fetch() {
    const auto rows = database_.Query(absl::StrCat("FETCH ", kRowsPerFetch, " FROM ", Name()));
    if (!rows.ok()) return rows.status();
    row_ = 0;
    keys_.clear();
    cells_.assign(static_cast<std::size_t>(rows->rows()), {});
    ended_ = rows->rows() == 0;
    std::vector<absl::string_view> texts;
    std::vector<std::pair<std::size_t, std::size_t>> places;  // Row and column of each.
    for (int row = 0; row < rows->rows(); ++row) {
      const auto key = rows->At(row, 0);
      keys_.push_back(key.has_value() ? std::optional<std::string>(*key) : std::nullopt);
      for (std::size_t column = 0; column < there_.size(); ++column) {
        const auto text = rows->At(row, static_cast<int>(column) + 1);
        if (!text.has_value()) continue;
        texts.push_back(*text);
        places.emplace_back(row, column);
      }
    }
    const auto decoded = database_.Decode(texts);
    if (!decoded.ok()) return decoded.status();
    for (std::size_t i = 0; i < places.size(); ++i) {
      const Found& column = there_[places[i].second];
      cells_[places[i].first][column.utf8_name] = CellOf(column, (*decoded)[i]);
    }
    return absl::OkStatus();
  }

  static LegacyCell CellOf(const Found& column, const LegacyDatabase::Text& text) {
    LegacyCell cell;
    if (column.travel == Travel::kSize) {
      cell.unreadable = absl::StrCat("has ", text.utf8, " bytes of no text: not taken over");
      return cell;
    }
    if (!text.problem.empty()) {
      cell.unreadable = absl::StrCat("cannot be read: ", text.problem);
      return cell;
    }
    auto json = ParseExactJson(text.utf8, kStructLevelsMax);
    if (!json.ok()) {
      cell.unreadable = std::string(json.status().message());
      return cell;
    }
    cell.value = std::move(json->value);
    cell.changes = std::move(json->changes);
    cell.depth = json->depth;
    if (column.travel == Travel::kDigits) cell.digits = cell.value.string_value();
    if (column.travel == Travel::kDigits || column.travel == Travel::kDigitsList ||
        column.travel == Travel::kFloats) {
      ReadDigits(cell.value, cell.changes);
    }
    return cell;
  }

  LegacyDatabase& database_;
  const LegacyTable& table_;
  const std::map<std::string, std::string> columns_;
  const std::vector<Found> there_;
  std::vector<std::optional<std::string>> keys_;
  std::vector<std::map<std::string, LegacyCell>> cells_;
  std::size_t row_ = 0;
  bool ended_ = false;
};

// ---- LegacyReader

LegacyReader::LegacyReader(const Options& options) : options_(options) {}
LegacyReader::~LegacyReader() = default;

absl::StatusOr<std::unique_ptr<LegacyReader>> LegacyReader::Open(const Options& options) {
  std::unique_ptr<LegacyReader> reader(new LegacyReader(options));
  auto database = LegacyDatabase::Open(options.url, options.encoding);
  if (!database.ok()) return database.status();
  reader->database_ = *std::move(database);
  if (absl::Status begun = reader->Begin(); !begun.ok()) return begun;
  return reader;
}

namespace {

absl::StatusOr<std::vector<Found>> FindColumns(LegacyDatabase& database, const std::string& oid) {
  const auto rows = database.Query(kColumns, {oid});
  if (!rows.ok()) return rows.status();
  std::vector<absl::string_view> names;
  for (int i = 0; i < rows->rows(); ++i) names.push_back(*rows->At(i, 1));
  const auto decoded = database.Decode(names);
  if (!decoded.ok()) return decoded.status();
  std::vector<Found> there;
  for (int i = 0; i < rows->rows(); ++i) {
    std::string name(*rows->At(i, 0));
    const auto readable = ParseExactJson((*decoded)[static_cast<std::size_t>(i)].utf8);
    std::string utf8 = readable.ok() ? readable->value.string_value() : absl::CHexEscape(name);
    there.push_back({std::move(name), std::move(utf8), TravelOf(*rows->At(i, 2), *rows->At(i, 3))});
  }
  return there;
}

// For a missing table: a note about it, or an error if it is required.
absl::StatusOr<std::string> Missing(LegacyDatabase& database, const LegacyTable& table) {
  const auto elsewhere = database.Query(kElsewhere, {table.name});
  if (!elsewhere.ok()) return elsewhere.status();
  const bool found = elsewhere->rows() > 0;
  if (found && elsewhere->At(0, 2) == "t") {
    return NotAllMayBeRead(table, absl::StrCat("the role ", *elsewhere->At(0, 1),
                                               " may not use the schema ", *elsewhere->At(0, 0)));
  }
  const std::string where =
      found ? absl::StrCat(" (the schema ", *elsewhere->At(0, 0), " has one)") : "";
  if (table.part == LegacyPart::kSession) {
    return absl::FailedPreconditionError(
        absl::StrCat("There is no table ", table.name, " in the search path", where));
  }
  return absl::StrCat("There is no table ", table.name, where, ": nothing is read from it");
}

}  // namespace

absl::Status LegacyReader::OpenCursor(const LegacyTable& table) {
  const auto place = database_->Query(kPlace, {table.name});
  if (!place.ok()) return place.status();
  if (place->rows() == 0) {
    auto note = Missing(*database_, table);
    if (note.ok()) notes_.push_back(*std::move(note));
    return note.status();
  }
  if (place->At(0, 2) == "t") {
    return NotAllMayBeRead(table, "row-level security hides rows of it from this role");
  }
  auto there = FindColumns(*database_, std::string(*place->At(0, 0)));
  if (!there.ok()) return there.status();
  auto columns = ColumnsOf(table, *there);
  if (!columns.ok()) return columns.status();
  cursors_.push_back(
      std::make_unique<Cursor>(*database_, table, *std::move(columns), *std::move(there)));
  const std::string name(*place->At(0, 1));
  if (absl::Status opened = cursors_.back()->Open(name); !opened.ok()) return opened;
  if (table.part != LegacyPart::kSession) return absl::OkStatus();
  const auto count = database_->Query(absl::StrCat("SELECT pg_catalog.count(*) FROM ", name));
  if (!count.ok()) return count.status();
  static_cast<void>(absl::SimpleAtoi(*count->At(0, 0), &total_));
  return absl::OkStatus();
}

absl::Status LegacyReader::Begin() {
  for (const LegacyTable& table : TablesOf(options_.layout)) {
    if (absl::Status opened = OpenCursor(table); !opened.ok()) return opened;
  }
  return absl::OkStatus();
}

// Rows that belong to no session are returned before the next session, or after the last one.
absl::StatusOr<std::optional<LegacyReader::Session>> LegacyReader::NextOrphan(
    const std::optional<std::string>& key, bool sessions_ended) {
  for (auto cursor = std::next(cursors_.begin()); cursor != cursors_.end(); ++cursor) {
    const auto ready = (*cursor)->Ready();
    if (!ready.ok()) return ready.status();
    if (!*ready) continue;
    const std::optional<std::string> of = (*cursor)->Key();
    // Null sorts after every key in PostgreSQL.
    const bool passed = of.has_value() && (!key.has_value() || *of < *key);
    if (!passed && !sessions_ended) continue;
    LegacyFindings findings;
    const LegacyRow row = (*cursor)->Take(findings);
    row.Refuse("session_id", of.has_value()
                                 ? absl::StrCat(row.Text("session_id"), " is of no session")
                                 : "is null");
    return Session{.problems = std::move(findings.problems)};
  }
  return std::nullopt;
}

absl::Status LegacyReader::TakeRows(const std::string& key, LegacyFindings& findings,
                                    v1::ImportSessionsRequest& request) {
  for (auto cursor = std::next(cursors_.begin()); cursor != cursors_.end(); ++cursor) {
    std::vector<LegacyRow> rows;
    while (true) {
      const auto ready = (*cursor)->Ready();
      if (!ready.ok()) return ready.status();
      if (!*ready || (*cursor)->Key() != key) break;
      rows.push_back((*cursor)->Take(findings));
    }
    AddLegacyRows(options_.layout, rows, request);
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
  LegacyFindings findings;
  std::vector<LegacyRow> own;
  own.push_back(sessions.Take(findings));
  const LegacyRow& row = own.front();
  AddLegacyRows(options_.layout, own, session.request);
  // If a session has two rows, the first gets all that belongs to it.
  if (key.has_value() && key == last_key_) row.Refuse("session_id", "stands in another row, too");
  last_key_ = key;
  if (key.has_value()) {
    if (absl::Status taken = TakeRows(*key, findings, session.request); !taken.ok()) return taken;
  }
  CompleteLegacySession(options_.layout, row, session.request);
  session.request.mutable_session()->set_namespace_(options_.session_namespace);
  session.problems = std::move(findings.problems);
  session.remarks = std::move(findings.remarks);
  return session;
}

}  // namespace sessiond::db
