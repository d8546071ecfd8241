#include "db/sql_error.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "server/state_machine/refusal.h"

namespace sessiond::db {
namespace {

constexpr absl::string_view kSqlStatePayload = "sessiond/sqlstate";
constexpr absl::string_view kTroublePayload = "sessiond/connection-trouble";

// How long a caller should wait before it tries again: PostgreSQL restarts in about half a second.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(500);

struct Row {
  absl::string_view prefix;
  v1::ErrorReason reason;
  absl::string_view sentence;
};

// The first prefix that fits wins.
// clang-format off
constexpr Row kRows[] = {
    {"08",    v1::DATABASE_UNAVAILABLE, "The database cannot be reached. Retry with the same request_id."},
    {"25006", v1::DATABASE_UNAVAILABLE, "The database is read-only at present. Retry with the same request_id."},
    {"25P03", v1::DATABASE_UNAVAILABLE, "The database ended an idle transaction. Retry with the same request_id."},
    {"40",    v1::LOCK_TIMEOUT,         "The database rolled this back to let others pass. Retry with the same request_id."},
    {"53",    v1::DATABASE_UNAVAILABLE, "The database is out of resources. Retry later with the same request_id."},
    {"55P03", v1::LOCK_TIMEOUT,         "Somebody else kept this locked. Retry with the same request_id."},
    {"57014", v1::LOCK_TIMEOUT,         "The database took too long. Retry with the same request_id."},
    {"57P",   v1::DATABASE_UNAVAILABLE, "The database is restarting. Retry with the same request_id."},
    {"26",    v1::SCHEMA_MISMATCH,      "The database's schema is not the one this daemon needs. Run: sessiond migrate up"},
    {"3F",    v1::SCHEMA_MISMATCH,      "The database's schema is not the one this daemon needs. Run: sessiond migrate up"},
    {"42",    v1::SCHEMA_MISMATCH,      "The database's schema is not the one this daemon needs. Run: sessiond migrate up"},
    {"",      v1::CONSTRAINT_VIOLATION, "The database refused the change. The daemon's log says more."},
};
// clang-format on

}  // namespace

absl::Status SqlError(absl::string_view sqlstate, absl::string_view statement,
                      absl::string_view message, bool expected) {
  const Row* row = kRows;
  while (!absl::StartsWith(sqlstate, row->prefix)) ++row;  // The last row fits everything.
  Refusal refusal(row->reason, std::string(row->sentence));
  if (CategoryOf(row->reason) == Category::kTemporary) refusal.RetryAfter(kRetryDelay);
  absl::Status status = refusal;
  status.SetPayload(kSqlStatePayload, absl::Cord(sqlstate));
  // PostgreSQL's text quotes values, and so goes no further than the debug log; ours to see is what
  // failed where.
  if (CategoryOf(row->reason) == Category::kAdminRequired && !expected) {
    spdlog::error("sqlstate {} in {}", std::string(sqlstate), std::string(statement));
  }
  spdlog::debug("sqlstate {} in {}: {}", std::string(sqlstate), std::string(statement),
                std::string(message));
  return status;
}

std::string SqlStateOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kSqlStatePayload);
  return payload.has_value() ? std::string(*payload) : "";
}

std::string ConnectionTroubleOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kTroublePayload);
  return payload.has_value() ? std::string(*payload) : "";
}

absl::Status ConnectionLost(absl::string_view what) {
  absl::Status status = SqlError("08006", "connection", what);
  status.SetPayload(kTroublePayload, absl::Cord(what));
  return status;
}

}  // namespace sessiond::db
