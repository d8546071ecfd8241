#include "client/legacy/legacy_database.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "db/connection/conninfo.h"
#include "db/connection/postgres_variables.h"

namespace sessiond::db {
namespace {

// Settings of the role or the environment that would change what is read, or end it. Only those
// that this PostgreSQL has are set, and only for this transaction, so that it also works behind a
// pooler.
constexpr char kSettings[] = R"(
  SELECT pg_catalog.set_config(s.name, v.value, true)
  FROM (VALUES
    ('TimeZone', 'UTC'),
    ('DateStyle', 'ISO, YMD'),
    ('IntervalStyle', 'postgres'),
    ('extra_float_digits', '3'),      -- All digits of a float.
    ('bytea_output', 'hex'),
    ('xmlbinary', 'base64'),
    ('array_nulls', 'on'),
    ('standard_conforming_strings', 'on'),
    ('row_security', 'off'),          -- An error instead of some rows.
    ('statement_timeout', '0'),
    ('lock_timeout', '0'),
    ('transaction_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'),
    ('cursor_tuple_fraction', '1.0')  -- All of it is going to be read.
  ) v (name, value)
  JOIN pg_catalog.pg_settings s ON s.name = v.name)";

// Converted in one round trip: the text is sent in hexadecimal, in both directions.
constexpr std::size_t kConvertBytes = 1 << 20;

// Messages have the encoding of the wire, and are shown to people.
std::string Readable(const char* message) {
  const absl::string_view text =
      absl::StripAsciiWhitespace(absl::string_view(message == nullptr ? "" : message));
  const bool ascii = std::all_of(text.begin(), text.end(), absl::ascii_isascii);
  return ascii ? std::string(text) : absl::Utf8SafeCHexEscape(text);
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isascii(static_cast<unsigned char>(c)); });
}

}  // namespace

// ---- LegacyResult

void LegacyResult::Clear(pg_result* result) { PQclear(result); }
int LegacyResult::rows() const { return PQntuples(result_.get()); }
int LegacyResult::columns() const { return PQnfields(result_.get()); }

std::optional<absl::string_view> LegacyResult::At(int row, int column) const {
  if (PQgetisnull(result_.get(), row, column) != 0) return std::nullopt;
  return absl::string_view(PQgetvalue(result_.get(), row, column),
                           static_cast<std::size_t>(PQgetlength(result_.get(), row, column)));
}

// ---- LegacyDatabase

LegacyDatabase::~LegacyDatabase() { PQfinish(connection_); }

absl::StatusOr<std::unique_ptr<LegacyDatabase>> LegacyDatabase::Open(const std::string& url,
                                                                     const std::string& encoding) {
  const auto info = ParseConnInfo(url);
  if (!info.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("The URL ", info.status().message()));
  }
  ForgetLibpqEnvironment(*info);
  std::unique_ptr<LegacyDatabase> database(new LegacyDatabase);
  // Keywords after the URL override it. A network that has been dead for half a minute counts as
  // lost.
  const char* const keywords[] = {"connect_timeout",
                                  "fallback_application_name",
                                  "keepalives_idle",
                                  "keepalives_interval",
                                  "keepalives_count",
                                  "tcp_user_timeout",
                                  "dbname",
                                  "client_encoding",
                                  nullptr};
  const char* const values[] = {"10",    "sessionctl import", "10",   "5",    "4",
                                "30000", url.c_str(),         "UTF8", nullptr};
  database->connection_ = PQconnectdbParams(keywords, values, /*expand_dbname=*/1);
  if (PQstatus(database->connection_) != CONNECTION_OK) {
    return absl::UnavailableError(Readable(PQerrorMessage(database->connection_)));
  }
  PQsetNoticeReceiver(
      database->connection_, [](void*, const PGresult*) {}, nullptr);
  if (absl::Status begun = database->Begin(encoding); !begun.ok()) return begun;
  return database;
}

absl::Status LegacyDatabase::Begin(const std::string& encoding) {
  const auto begun = Query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
  if (!begun.ok()) return begun.status();
  if (const auto set = Query(kSettings); !set.ok()) return set.status();
  return SetEncoding(encoding);
}

absl::Status LegacyDatabase::SetEncoding(const std::string& encoding) {
  const char* status = PQparameterStatus(connection_, "server_encoding");
  const std::string server = status == nullptr ? "" : status;
  const bool unknown = server == "SQL_ASCII";
  if (!encoding.empty()) {
    if (!unknown) {
      return absl::InvalidArgumentError(
          absl::StrCat("The database says itself that its encoding is ", server,
                       ": only that of a SQL_ASCII database can be given"));
    }
    // Client-only encodings have numbers above the last one for databases; the numbers never
    // change.
    const auto known =
        Query("SELECT e >= 0, e > 34 FROM pg_catalog.pg_char_to_encoding($1) e", {encoding});
    if (!known.ok()) return known.status();
    if (known->At(0, 0) != "t") {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", encoding, "\" is no encoding that PostgreSQL knows, such as LATIN1 or WIN1252"));
    }
    // Such a character may contain the byte of a backslash, which then cannot be distinguished from
    // one.
    if (known->At(0, 1) == "t") {
      return absl::InvalidArgumentError(
          absl::StrCat(encoding,
                       " has characters with bytes of ASCII in them, which cannot be read as they "
                       "are: restore a dump of the database into one of UTF8, with SET "
                       "client_encoding = '",
                       encoding, "' before it, and import from that"));
    }
  }
  if (server == "UTF8") return absl::OkStatus();
  convert_from_ = unknown ? encoding : server;
  return Query("SET LOCAL client_encoding = 'SQL_ASCII'").status();  // Then nothing is converted.
}

absl::StatusOr<LegacyResult> LegacyDatabase::Query(const std::string& sql,
                                                   const std::vector<std::string>& parameters) {
  std::vector<const char*> values;
  for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
  PGresult* result = PQexecParams(connection_, sql.c_str(), static_cast<int>(values.size()),
                                  nullptr, values.data(), nullptr, nullptr, /*resultFormat=*/0);
  LegacyResult rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return rows;
  if (PQstatus(connection_) != CONNECTION_OK) {
    return absl::UnavailableError(Readable(PQerrorMessage(connection_)));
  }
  const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string message = Readable(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
  if (sqlstate != nullptr && std::strcmp(sqlstate, "42501") == 0) {
    return absl::PermissionDeniedError(message);
  }
  return absl::FailedPreconditionError(message);
}

absl::StatusOr<std::vector<LegacyDatabase::Text>> LegacyDatabase::Decode(
    const std::vector<absl::string_view>& texts) {
  std::vector<Text> decoded(texts.size());
  std::vector<std::size_t> foreign;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (convert_from_.empty() || IsAscii(texts[i])) {
      decoded[i].utf8 = std::string(texts[i]);
      continue;
    }
    foreign.push_back(i);
    bytes += texts[i].size();
    if (bytes < kConvertBytes) continue;
    if (absl::Status done = Convert(texts, foreign, decoded); !done.ok()) return done;
    foreign.clear();
    bytes = 0;
  }
  if (absl::Status done = Convert(texts, foreign, decoded); !done.ok()) return done;
  return decoded;
}

// All at once; if one of them cannot be converted, in halves, down to a single one.
absl::Status LegacyDatabase::Convert(const std::vector<absl::string_view>& texts,
                                     const std::vector<std::size_t>& which,
                                     std::vector<Text>& decoded) {
  if (which.empty()) return absl::OkStatus();
  std::string array = "{";
  for (const std::size_t i : which) {
    absl::StrAppend(&array, array.size() > 1 ? "," : "", "\"\\\\x",
                    absl::BytesToHexString(texts[i]), "\"");
  }
  array += "}";
  // The open cursors are older than the savepoint, and survive its end.
  if (auto saved = Query("SAVEPOINT convert"); !saved.ok()) return saved.status();
  const auto converted = Query(
      "SELECT pg_catalog.encode(pg_catalog.convert(u.b, $2::pg_catalog.name, 'UTF8'), 'hex') "
      "FROM pg_catalog.unnest($1::pg_catalog.bytea[]) WITH ORDINALITY u (b, n) ORDER BY u.n",
      {array, convert_from_});
  if (absl::IsUnavailable(converted.status())) return converted.status();
  if (!converted.ok()) {
    if (auto back = Query("ROLLBACK TO SAVEPOINT convert"); !back.ok()) return back.status();
  }
  if (auto released = Query("RELEASE SAVEPOINT convert"); !released.ok()) return released.status();
  if (converted.ok()) {
    for (std::size_t k = 0; k < which.size(); ++k) {
      const auto hex = converted->At(static_cast<int>(k), 0);
      decoded[which[k]].utf8 = absl::HexStringToBytes(hex.value_or(""));
    }
    return absl::OkStatus();
  }
  if (which.size() == 1) {
    decoded[which[0]].problem = std::string(converted.status().message());
    return absl::OkStatus();
  }
  const auto middle = which.begin() + static_cast<std::ptrdiff_t>(which.size() / 2);
  for (const auto& half : {std::vector<std::size_t>(which.begin(), middle),
                           std::vector<std::size_t>(middle, which.end())}) {
    if (absl::Status done = Convert(texts, half, decoded); !done.ok()) return done;
  }
  return absl::OkStatus();
}

}  // namespace sessiond::db
