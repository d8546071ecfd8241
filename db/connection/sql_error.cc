#include "db/connection/sql_error.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

constexpr absl::string_view kSqlStatePayload = "sessiond/sqlstate";
constexpr absl::string_view kTroublePayload = "sessiond/trouble";
constexpr absl::string_view kAcceptedPayload = "sessiond/accepted";

// How long a caller should wait before it retries: PostgreSQL restarts in about half a second.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(500);

struct Row {
  absl::string_view prefix;
  v1::ErrorReason reason;
  // Whether PostgreSQL's text names database objects, and no values.
  bool names_things;
  absl::string_view sentence;
};

constexpr absl::string_view kPooled =
    "A pooler between the daemon and its database gives transactions other sessions. It must pool "
    "sessions: PgBouncer's pool_mode = session.";
constexpr absl::string_view kOtherSchema =
    "The database's schema is not the one this daemon needs. Run: sessiond doctor, which says "
    "whether sessiond migrate up mends it.";

// The first prefix that fits wins.
// clang-format off
constexpr Row kRows[] = {
    {"08007", v1::DATABASE_UNAVAILABLE, false, "The database does not say yet whether the change is safe. Retry with the same request_id."},
    {"08P01", v1::DATABASE_UNAVAILABLE, true,  "The database cannot be reached. Retry with the same request_id."},
    {"08",    v1::DATABASE_UNAVAILABLE, false, "The database cannot be reached. Retry with the same request_id."},
    {"25006", v1::DATABASE_UNAVAILABLE, true,  "The database is read-only at present. Retry with the same request_id."},
    {"25P03", v1::DATABASE_UNAVAILABLE, true,  "The database ended an idle transaction. Retry with the same request_id."},
    {"26",    v1::SCHEMA_MISMATCH,      true,  kPooled},
    {"28",    v1::DATABASE_UNAVAILABLE, true,  "The database does not let the daemon in. Its log says why; retry with the same request_id."},
    {"3D",    v1::DATABASE_UNAVAILABLE, true,  "The daemon's database is not there. Its log says more; retry with the same request_id."},
    {"3F",    v1::SCHEMA_MISMATCH,      true,  kOtherSchema},
    {"40",    v1::LOCK_TIMEOUT,         false, "The database rolled this back to let others pass. Retry with the same request_id."},
    {"42501", v1::SCHEMA_MISMATCH,      true,  "The daemon's role in the database lacks a right. Run: sessiond doctor, which names it and the GRANT."},
    {"42P05", v1::SCHEMA_MISMATCH,      true,  kPooled},
    {"42P07", v1::SCHEMA_MISMATCH,      true,  "The database has something else of a name that the schema needs. The daemon's log names it."},
    {"42710", v1::SCHEMA_MISMATCH,      true,  "The database has something else of a name that the schema needs. The daemon's log names it."},
    {"42723", v1::SCHEMA_MISMATCH,      true,  "The database has something else of a name that the schema needs. The daemon's log names it."},
    {"42",    v1::SCHEMA_MISMATCH,      true,  kOtherSchema},
    {"53300", v1::DATABASE_UNAVAILABLE, true,  "The database lets the daemon have no more connections. Retry later with the same request_id."},
    {"53",    v1::DATABASE_UNAVAILABLE, true,  "The database is out of resources. Retry later with the same request_id."},
    {"55P03", v1::LOCK_TIMEOUT,         false, "Somebody else kept this locked. Retry with the same request_id."},
    {"57014", v1::LOCK_TIMEOUT,         false, "The database took too long. Retry with the same request_id."},
    {"57P",   v1::DATABASE_UNAVAILABLE, true,  "The database is restarting. Retry with the same request_id."},
    {"58",    v1::DATABASE_UNAVAILABLE, true,  "The database cannot read or write its files. Its log says which; retry with the same request_id."},
    {"XX001", v1::CONSTRAINT_VIOLATION, true,  "Data of the database is damaged, and cannot be read. The daemon's log names it; it has to come from a backup."},
    {"XX002", v1::CONSTRAINT_VIOLATION, true,  "An index of the database is damaged. The daemon's log names it; REINDEX makes it anew."},
    {"XX",    v1::CONSTRAINT_VIOLATION, false, "The database met an error of its own. The daemon's log says more."},
    {"",      v1::CONSTRAINT_VIOLATION, false, "The database refused the change. The daemon's log says more."},
};
// clang-format on

// `ERROR:  permission denied for table sessions`, without what follows it: a piece of the
// statement, a hint.
std::string FirstLine(absl::string_view message) {
  return std::string(message.substr(0, message.find('\n')));
}

bool IsSqlState(absl::string_view word) {
  return word.size() == 5 && std::all_of(word.begin(), word.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || absl::ascii_isupper(c);
         });
}

}  // namespace

absl::Status SqlError(absl::string_view sqlstate, absl::string_view statement,
                      absl::string_view message, bool expected) {
  const Row* row = kRows;
  while (!absl::StartsWith(sqlstate, row->prefix)) ++row;  // The last row fits everything.
  Refusal refusal(row->reason, std::string(row->sentence));
  if (CategoryOf(row->reason) == Category::kTemporary) refusal.RetryAfter(kRetryDelay);
  absl::Status status = refusal;
  status.SetPayload(kSqlStatePayload, absl::Cord(sqlstate));
  // What failed, and where, is logged as an error; PostgreSQL's text, without details, at level
  // debug. That of data exceptions (class 22) quotes values, and is in no log of ours.
  const std::string trouble = row->names_things ? FirstLine(message) : "";
  if (!trouble.empty()) status.SetPayload(kTroublePayload, absl::Cord(trouble));
  if (CategoryOf(row->reason) == Category::kAdminRequired && !expected) {
    spdlog::error("sqlstate {} in {}{}{}", std::string(sqlstate), std::string(statement),
                  trouble.empty() ? "" : ": ", trouble);
  }
  spdlog::debug("sqlstate {} in {}: {}", std::string(sqlstate), std::string(statement),
                absl::StartsWith(sqlstate, "22") ? "about a value" : std::string(message));
  return status;
}

std::string SqlStateOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kSqlStatePayload);
  return payload.has_value() ? std::string(*payload) : "";
}

std::string TroubleOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kTroublePayload);
  return payload.has_value() ? std::string(*payload) : "";
}

absl::Status ConnectionLost(absl::string_view what, absl::string_view sqlstate) {
  absl::Status status = SqlError(sqlstate, "connection", what);
  status.SetPayload(kTroublePayload, absl::Cord(what));
  return status;
}

absl::Status ConnectingTimedOut(absl::string_view what, bool accepted) {
  absl::Status status = ConnectionLost(what, "08001");
  if (accepted) status.SetPayload(kAcceptedPayload, absl::Cord());
  return status;
}

bool WasAccepted(const absl::Status& status) {
  return status.GetPayload(kAcceptedPayload).has_value();
}

absl::Status CommitInDoubt() {
  return SqlError("08007", "COMMIT", "a warning came with it, or it rolled back");
}

bool IsAnotherSession(absl::string_view sqlstate) {
  return absl::StartsWith(sqlstate, "26") || sqlstate == "42P05";
}

bool ConnectionIsGone(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return absl::StartsWith(sqlstate, "08") || absl::StartsWith(sqlstate, "57P") ||
         sqlstate == "25P03" || sqlstate == "25006" || IsAnotherSession(sqlstate);
}

absl::Status ConnectionRefused(absl::string_view message) {
  std::string sqlstate = "08006";
  std::vector<std::string> said;
  for (absl::string_view line : absl::StrSplit(message, '\n', absl::SkipWhitespace())) {
    line = absl::StripAsciiWhitespace(line);
    if (absl::StartsWith(line, "LOCATION:")) continue;  // Where in PostgreSQL's source.
    const std::size_t severity = line.find(":  ");
    const absl::string_view code =
        severity == line.npos ? absl::string_view() : line.substr(severity + 3, 5);
    if (IsSqlState(code) && line.substr(severity + 8, 2) == ": ") {
      sqlstate = std::string(code);
      said.push_back(absl::StrCat(line.substr(0, severity + 3), line.substr(severity + 10)));
    } else {
      said.emplace_back(line);
    }
  }
  return ConnectionLost(absl::StrCat("connecting: ", absl::StrJoin(said, " ")), sqlstate);
}

}  // namespace sessiond::db
