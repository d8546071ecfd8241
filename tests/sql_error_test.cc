// What becomes of a SQLSTATE: the refusal for the caller, and PostgreSQL's words for the operator.
#include "db/connection/sql_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Case {
  std::string sqlstate;
  v1::ErrorReason reason;
  // What the caller is told, in part.
  std::string told;
};

// clang-format off
const std::vector<Case> kCases = {
    {"08006", v1::DATABASE_UNAVAILABLE, "cannot be reached"},
    {"28P01", v1::DATABASE_UNAVAILABLE, "does not let the daemon in"},
    {"3D000", v1::DATABASE_UNAVAILABLE, "is not there"},
    {"53300", v1::DATABASE_UNAVAILABLE, "no more connections"},
    {"53100", v1::DATABASE_UNAVAILABLE, "out of resources"},
    {"57P03", v1::DATABASE_UNAVAILABLE, "restarting"},
    {"55P03", v1::LOCK_TIMEOUT,         "locked"},
    {"26000", v1::SCHEMA_MISMATCH,      "pool_mode = session"},
    {"42P05", v1::SCHEMA_MISMATCH,      "pool_mode = session"},
    {"42501", v1::SCHEMA_MISMATCH,      "lacks a right"},
    {"42P07", v1::SCHEMA_MISMATCH,      "something else of a name"},
    {"42710", v1::SCHEMA_MISMATCH,      "something else of a name"},
    {"42P01", v1::SCHEMA_MISMATCH,      "sessiond doctor"},
    {"42703", v1::SCHEMA_MISMATCH,      "sessiond doctor"},
    {"3F000", v1::SCHEMA_MISMATCH,      "sessiond doctor"},
    {"58030", v1::DATABASE_UNAVAILABLE, "cannot read or write its files"},
    {"58P01", v1::DATABASE_UNAVAILABLE, "cannot read or write its files"},
    {"XX001", v1::CONSTRAINT_VIOLATION, "is damaged, and cannot be read"},
    {"XX002", v1::CONSTRAINT_VIOLATION, "REINDEX"},
    {"XX000", v1::CONSTRAINT_VIOLATION, "an error of its own"},
    {"22P02", v1::CONSTRAINT_VIOLATION, "refused the change"},
    {"23505", v1::CONSTRAINT_VIOLATION, "refused the change"},
};
// clang-format on

TEST(SqlError, EachKindIsToldApart) {
  for (const Case& each : kCases) {
    const absl::Status status = SqlError(each.sqlstate, "a round trip", "x", /*expected=*/true);
    EXPECT_EQ(ReasonOf(status), each.reason) << each.sqlstate;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.told)) << each.sqlstate;
    EXPECT_EQ(SqlStateOf(status), each.sqlstate);
  }
}

TEST(SqlError, PostgresWordsAboutThingsAreKeptAndThoseAboutValuesAreNot) {
  const absl::Status right =
      SqlError("42501", "a round trip",
               "ERROR:  permission denied for table sessions\nLINE 1: SELECT", true);
  EXPECT_EQ(TroubleOf(right), "ERROR:  permission denied for table sessions");
  EXPECT_THAT(std::string(right.message()), Not(HasSubstr("sessions")));
  const absl::Status value = SqlError(
      "22P02", "a round trip", "ERROR:  invalid input syntax for type uuid: \"secret\"", true);
  EXPECT_EQ(TroubleOf(value), "");
}

TEST(SqlError, NoLogHasTheWordsThatQuoteValues) {
  std::ostringstream said;
  const auto before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said));
  logger->set_level(spdlog::level::debug);
  spdlog::set_default_logger(logger);
  SqlError("22P02", "a round trip", "ERROR:  invalid input syntax for type uuid: \"secret\"", false)
      .IgnoreError();
  SqlError("23514", "a round trip", "ERROR:  new row violates check constraint \"c\"", true)
      .IgnoreError();
  spdlog::set_default_logger(before);
  EXPECT_THAT(said.str(), HasSubstr("sqlstate 22P02 in a round trip"));
  EXPECT_THAT(said.str(), Not(HasSubstr("secret")));
  EXPECT_THAT(said.str(), HasSubstr("check constraint \"c\""));
}

TEST(ConnectionRefused, TellsTheServersCodeWhereItHasSpoken) {
  const absl::Status full = ConnectionRefused(
      "connection to server on socket \"/run/.s.PGSQL.5432\" failed: FATAL:  53300: too many "
      "connections for role \"app\"\nLOCATION:  InitializeSessionUserId, miscinit.c:835\n");
  EXPECT_EQ(SqlStateOf(full), "53300");
  EXPECT_EQ(TroubleOf(full),
            "connecting: connection to server on socket \"/run/.s.PGSQL.5432\" failed: FATAL:  too "
            "many connections for role \"app\"");
  const absl::Status nobody = ConnectionRefused(
      "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server "
      "running on that host and accepting TCP/IP connections?\n");
  EXPECT_EQ(SqlStateOf(nobody), "08006");
  EXPECT_THAT(TroubleOf(nobody), HasSubstr("Connection refused Is the server running"));
}

}  // namespace
}  // namespace sessiond::db
