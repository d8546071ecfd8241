// The three old applications' tables, as plain tables with rows as people leave them, bad ones
// among them, and what is read out of them.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "client/legacy/legacy_reader.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "tests/postgres_fixture.h"
#include "tests/test_seed.h"

namespace sessiond::db {
namespace {

using google::protobuf::util::TimeUtil;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using v1::Session;

// The tables of a layout, with their rows.
std::string Layout(const std::string& name) {
  const auto folder = std::filesystem::path(__FILE__).parent_path();
  std::ostringstream sql;
  sql << std::ifstream(folder / "legacy" / (name + ".sql")).rdbuf();
  return sql.str();
}

// A database with one of the layouts, and the layout changed as a test likes.
class LegacyReaderTest : public testing::Test {
 protected:
  void Lay(const std::string& sql) {
    const absl::Status done = database_.Connect()->Execute(sql, TestDeadline());
    ASSERT_TRUE(done.ok()) << done;
  }
  absl::StatusOr<std::unique_ptr<LegacyReader>> Open(LegacyLayout layout) {
    return LegacyReader::Open({.url = database_.dsn(), .layout = layout});
  }
  // Everything there is, by session id; rows without a session under "".
  static std::multimap<std::string, LegacyReader::Session> ReadAll(
      const LegacyReader::Options& options) {
    auto reader = LegacyReader::Open(options);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::multimap<std::string, LegacyReader::Session> all;
    while (reader.ok()) {
      auto session = (*reader)->Next();
      EXPECT_TRUE(session.ok()) << session.status();
      if (!session.ok() || !session->has_value()) break;
      const std::string id = (*session)->request.session().session_id();
      all.emplace(id, **std::move(session));
    }
    return all;
  }
  std::multimap<std::string, LegacyReader::Session> ReadAll(LegacyLayout layout) {
    return ReadAll({.url = database_.dsn(), .layout = layout});
  }
  static const LegacyReader::Session& Only(
      const std::multimap<std::string, LegacyReader::Session>& all, const std::string& id) {
    EXPECT_EQ(all.count(id), 1) << id;
    return all.find(id)->second;
  }

  TestDatabase database_{TestDatabase::Schema::kEmpty};
};

std::string Id(int number) { return absl::StrCat("00000000-0000-4000-8000-00000000000", number); }

TEST_F(LegacyReaderTest, AFailedTicketExportComesWithAllThatBelongsToIt) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  const Session& session = one.request.session();
  EXPECT_EQ(session.workflow(), "ticket_export");
  EXPECT_EQ(session.owner_id(), "jira-7");
  EXPECT_EQ(session.owner_display_name(), "Ada");
  EXPECT_EQ(session.state(), Session::ACTIVE);
  EXPECT_EQ(session.stage(), "processing");
  EXPECT_EQ(TimeUtil::ToString(session.fail_time()), "2025-01-06T11:00:00Z");
  EXPECT_EQ(TimeUtil::ToString(session.create_time()), "2025-01-05T10:00:00.123456Z");
  EXPECT_EQ(session.context().fields().at("site_name").string_value(), "Berlin");
  EXPECT_EQ(session.context().fields().count("jira_project_key"), 0);
  EXPECT_EQ(session.counters().at("total_tickets_generated"), 3);
}

TEST_F(LegacyReaderTest, TheTaskThatWasStartedLastIsTheSessionsTaskAndOlderOnesItsPast) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const v1::ImportSessionsRequest& request = Only(all, Id(1)).request;
  EXPECT_EQ(request.task().task_id(), "7f0e0000-0000-4000-8000-00000000000a");
  EXPECT_EQ(request.task().status(), v1::SessionTask::FAILED);
  EXPECT_EQ(request.task().retry_count(), 3);
  EXPECT_EQ(request.task().failure_context().fields().at("status").number_value(), 500);
  std::vector<std::string> tables;
  for (const auto& event : request.events()) {
    tables.push_back(event.fields().at("table").string_value());
  }
  // The older one, and the id of the one that is the session's now.
  EXPECT_THAT(tables, ElementsAre("sessions", "session_tasks", "session_tasks"));
  const auto& row = request.events(0).fields().at("row").struct_value().fields();
  EXPECT_EQ(row.at("browser").string_value(), "Firefox");
  EXPECT_EQ(row.at("serial").string_value(), "9007199254740993");
}

TEST_F(LegacyReaderTest, ErrorsKeepTheirWordsTheirActionsAndTheirLinks) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const v1::ImportSessionsRequest& request = Only(all, Id(1)).request;
  ASSERT_EQ(request.errors_size(), 2);
  const v1::SessionError& error = request.errors(0);
  EXPECT_EQ(error.error_id(), "e0000000-0000-4000-8000-000000000001");
  EXPECT_EQ(error.category(), v1::SessionError::USER_FIXABLE);
  EXPECT_EQ(error.severity(), v1::SessionError::BLOCKING);
  EXPECT_THAT(error.recovery_actions(), ElementsAre("Save it as PDF", "Upload it again"));
  EXPECT_EQ(error.technical_details().fields().at("pages").number_value(), 3);
  EXPECT_EQ(error.related_file_id(), "file-1");
  EXPECT_EQ(error.related_ticket_id(), "ticket-2");
  EXPECT_THAT(request.errors(1).recovery_actions(), ElementsAre("Wait"));
  EXPECT_EQ(request.errors(1).technical_details().fields().at("details").string_value(),
            "Traceback: …");
  ASSERT_EQ(request.artifacts_size(), 2);
  EXPECT_EQ(request.artifacts(0).artifact_id(), "file-1");
  EXPECT_EQ(request.artifacts(0).uri(), "/srv/plan.pdf");
  EXPECT_EQ(request.artifacts(0).metadata().fields().at("size_bytes").number_value(), 12345);
  EXPECT_EQ(request.artifacts(0).metadata().fields().count("content"), 0);
}

TEST_F(LegacyReaderTest, ANameThatIsTooLongIsCutBetweenCharactersAndKeptWhole) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const v1::SessionArtifact& ticket = Only(all, Id(1)).request.artifacts(1);
  EXPECT_EQ(ticket.display_name().size(), 255);
  EXPECT_TRUE(absl::EndsWith(ticket.display_name(), "ü…"));
  EXPECT_EQ(ticket.metadata().fields().at("name").string_value().size(), 400);
}

TEST_F(LegacyReaderTest, WhatWasCompletedIsStoppedAtItsLastStage) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const Session& session = Only(all, Id(2)).request.session();
  EXPECT_EQ(session.state(), Session::STOPPED);
  EXPECT_EQ(session.stage(), "completed");
  EXPECT_EQ(TimeUtil::ToString(session.complete_time()), "2025-02-01T09:30:00Z");
  EXPECT_EQ(session.owner_display_name(), "jira-8");
}

TEST_F(LegacyReaderTest, WhatCannotBeToldIsSaidWithItsRowAndStopsNothing) {
  Lay(Layout("ticket_export"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  EXPECT_EQ(all.size(), 7);
  // A blank message is the daemon's to refuse.
  EXPECT_THAT(Only(all, Id(5)).problems, IsEmpty());
  EXPECT_EQ(Only(all, Id(5)).request.errors(0).user_message(), "  ");
  EXPECT_THAT(Only(all, Id(3)).problems, ElementsAre("sessions: status \"frozen\" is not known"));
  EXPECT_THAT(
      Only(all, Id(4)).problems,
      ElementsAre("session_errors e0000000-0000-4000-8000-000000000004: error_category "
                  "\"gremlins\" is not known",
                  "session_errors e0000000-0000-4000-8000-000000000004: recovery_actions has no "
                  "\"actions\""));
  std::vector<std::string> orphans;
  for (auto [it, end] = all.equal_range(""); it != end; ++it) {
    orphans.push_back(it->second.problems.at(0));
  }
  EXPECT_THAT(orphans,
              ElementsAre(AllOf(HasSubstr("session_errors e0000000"), HasSubstr("of no session")),
                          HasSubstr("session_tasks 3: session_id is null")));
}

TEST_F(LegacyReaderTest, AnExecutionWithoutAStateIsActiveUnlessDeleted) {
  Lay(Layout("execution"));
  const auto all = ReadAll(LegacyLayout::kExecution);
  EXPECT_EQ(all.size(), 4);
  const Session& active = Only(all, "exec_20251230_020944_4ad060d9").request.session();
  EXPECT_EQ(active.state(), Session::ACTIVE);
  EXPECT_EQ(active.owner_id(), "9007199254740993");
  EXPECT_EQ(TimeUtil::ToString(active.create_time()), "2025-12-30T02:09:44Z");
  const Session& deleted = Only(all, "exec_20251231_000000_00000000").request.session();
  EXPECT_EQ(deleted.state(), Session::DELETED);
  EXPECT_EQ(TimeUtil::ToString(deleted.delete_time()), "2026-01-01T00:00:00Z");
  // Ids of another format are the daemon's to refuse.
  EXPECT_THAT(Only(all, "EXEC-1").problems, IsEmpty());
  EXPECT_THAT(Only(all, "").problems, IsEmpty());
}

TEST_F(LegacyReaderTest, AnInterviewHasItsMessagesByTimeAndThenById) {
  Lay(Layout("interview"));
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, "00000000-0000-4000-8000-00000000000a");
  const Session& session = one.request.session();
  EXPECT_EQ(session.state(), Session::PAUSED);
  EXPECT_EQ(session.references().at("job_posting"), "17");
  EXPECT_EQ(session.counters().at("current_question_number"), 2);
  std::vector<std::string> contents;
  for (const auto& message : one.request.messages()) contents.push_back(message.content());
  EXPECT_THAT(contents, ElementsAre("Why?", "Because", "How?"));
  EXPECT_EQ(one.request.messages(0).question_type(), "technical");
  EXPECT_EQ(one.request.messages(2).question_type(), "behavioral");
  EXPECT_EQ(one.request.messages(1).metadata().fields().at("score").number_value(), 0.5);
  EXPECT_EQ(TimeUtil::ToString(one.request.messages(0).create_time()), "2025-05-01T08:02:00Z");

  const Session& completed = Only(all, "00000000-0000-4000-8000-00000000000b").request.session();
  EXPECT_EQ(completed.state(), Session::STOPPED);
  EXPECT_EQ(TimeUtil::ToString(completed.complete_time()), "2025-05-01T09:00:00Z");
  EXPECT_THAT(Only(all, "00000000-0000-4000-8000-00000000000c").problems,
              ElementsAre("session_messages 7: message_type \"riddle\" is not known"));
  EXPECT_THAT(Only(all, "").problems, ElementsAre(HasSubstr("somebody else")));
}

TEST_F(LegacyReaderTest, WhatIsMissingIsNamed) {
  EXPECT_THAT(std::string(Open(LegacyLayout::kInterview).status().message()),
              HasSubstr("no table interview_sessions"));
  Lay(Layout("ticket_export"));
  Lay("ALTER TABLE session_errors DROP COLUMN severity");
  const absl::Status status = Open(LegacyLayout::kTicketExport).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "The table session_errors has no column severity or error_severity");
}

TEST_F(LegacyReaderTest, TablesAndColumnsThatAreNotNeededMayBeMissing) {
  Lay(Layout("ticket_export"));
  Lay("DROP TABLE tickets; ALTER TABLE sessions DROP COLUMN site_name, DROP COLUMN updated_at;"
      "ALTER TABLE sessions RENAME COLUMN jira_user_id TO user_id");
  auto reader = Open(LegacyLayout::kTicketExport);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->total(), 5);
  EXPECT_THAT((*reader)->notes(),
              ElementsAre("There is no table tickets: nothing is read from it"));
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  EXPECT_EQ(Only(all, Id(1)).request.session().owner_id(), "jira-7");
}

TEST_F(LegacyReaderTest, MoreRowsThanAreReadAtOnceAllArrive) {
  Lay(Layout("interview"));
  Lay("INSERT INTO interview_sessions SELECT lpad(to_hex(i), 32, '0'), 'u', NULL, 'active', now() "
      "FROM generate_series(1, 350) i;"
      "INSERT INTO session_messages (id, session_id, message_type, content, created_at) "
      "SELECT 1000 + i, lpad(to_hex(i % 350 + 1), 32, '0'), 'answer', i::text, now() "
      "FROM generate_series(1, 3500) i");
  const auto all = ReadAll(LegacyLayout::kInterview);
  EXPECT_EQ(all.size(), 354);
  int messages = 0;
  for (const auto& [id, session] : all) {
    if (session.request.session().owner_id() != "u") continue;
    EXPECT_EQ(session.request.messages_size(), 10) << id;
    messages += session.request.messages_size();
  }
  EXPECT_EQ(messages, 3500);
}

TEST_F(LegacyReaderTest, KeysAreOrderedByTheirBytesWhateverTheColumnsCollation) {
  Lay(Layout("interview"));
  Lay("TRUNCATE interview_sessions, session_messages;"
      "ALTER TABLE interview_sessions ALTER id TYPE text COLLATE \"und-x-icu\";"
      "ALTER TABLE session_messages ALTER session_id TYPE text COLLATE \"und-x-icu\";"
      "INSERT INTO interview_sessions SELECT id, 'u', NULL, 'active', now() "
      "FROM unnest('{b,C,d,Ä}'::text[]) id;"
      "INSERT INTO session_messages (session_id, message_type, content, created_at) "
      "SELECT id, 'answer', 'x', now() FROM interview_sessions WHERE id <> 'b'");
  const auto all = ReadAll(LegacyLayout::kInterview);
  EXPECT_EQ(all.size(), 4);
  for (const auto& [id, session] : all) {
    EXPECT_EQ(session.request.messages_size(), id == "b" ? 0 : 1) << id;
  }
}

TEST_F(LegacyReaderTest, AColumnThatIsNoDocumentOfOursIsReportedNotFatal) {
  Lay(Layout("ticket_export"));
  Lay("UPDATE session_errors SET recovery_actions = '{\"actions\": \"Wait\"}' "
      "WHERE severity = 'Warning';"
      "UPDATE session_errors SET technical_details = '{\"pages\": ' WHERE error_code = 'E17';"
      "UPDATE session_tasks SET failure_context = '{\"text\": \"\\u0000\"}' WHERE retry_count = 3;"
      "UPDATE sessions SET created_at = 'infinity' WHERE status = 'active'");
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  EXPECT_THAT(
      Only(all, Id(1)).problems,
      ElementsAre(AllOf(HasSubstr("000000000001"), HasSubstr("technical_details is no JSON")),
                  AllOf(HasSubstr("000000000002"), HasSubstr("recovery_actions is no list"))));
  EXPECT_THAT(Only(all, Id(4)).problems, testing::Contains(HasSubstr("\"infinity\" is no time")));
}

// -------------------------------------------------------------------------------------------------
// a database made to be nasty

// Tables of an interview as plain as they can be, with whatever columns more.
std::string Interviews(const std::string& time_type, const std::string& session_columns = "",
                       const std::string& message_columns = "") {
  return absl::StrCat(
      "CREATE TABLE interview_sessions (id uuid, user_id text DEFAULT 'u', "
      "status text DEFAULT 'active', created_at ",
      time_type, session_columns,
      ");"
      "CREATE TABLE session_messages (session_id uuid, id bigserial, message_type text "
      "DEFAULT 'answer', content text, created_at ",
      time_type, message_columns, ");");
}

std::vector<std::string> Contents(const LegacyReader::Session& session) {
  std::vector<std::string> contents;
  for (const auto& message : session.request.messages()) contents.push_back(message.content());
  return contents;
}

TEST_F(LegacyReaderTest, TimesThatAreTextsAreOrderedAsTimesNotAsTexts) {
  Lay(Interviews("text"));
  Lay("INSERT INTO interview_sessions VALUES "
      "('00000000-0000-4000-8000-000000000001', 'u', 'active', '2025-01-05T09:59:00Z');"
      "INSERT INTO session_messages (session_id, content, created_at) "
      "SELECT '00000000-0000-4000-8000-000000000001', c, t FROM (VALUES "
      "('5', '2025-01-05T10:00:00.500Z'), ('4', '2025-01-05T10:00:00Z'),"
      "('8', '2025-01-05T12:30:00+01:00'), ('7', '2025-01-05T13:00:00+02:00'),"
      "('3', '2025-01-05 10:59:59.9+01'), ('9', '2025-01-05 06:45:00 -0500'),"
      "('6', '2025-01-05 10:00:00.500000001'), ('2', '2025-01-05 09:59:59 UTC'),"
      "('1', '2025-01-05T09:59:58.999999999z')) v (c, t)");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  EXPECT_THAT(Contents(one), ElementsAre("1", "2", "3", "4", "5", "6", "7", "8", "9"));
  // Of what is finer than a microsecond here, all is kept.
  const auto& metadata = one.request.messages(0).metadata().fields();
  EXPECT_EQ(metadata.at("created_at").string_value(), "2025-01-05T09:59:58.999999999z");
  EXPECT_EQ(one.request.messages(1).metadata().fields().count("created_at"), 0);
}

TEST_F(LegacyReaderTest, TheTaskThatWasStartedLastIsFoundByItsTimeAndThoseBeforeItAreKeptWhole) {
  Lay(Layout("ticket_export"));
  Lay("ALTER TABLE session_tasks ALTER started_at TYPE text, ADD worker text, ADD result jsonb;"
      "DELETE FROM session_tasks;"
      "INSERT INTO session_tasks (session_id, task_type, task_id, status, started_at, completed_at,"
      " worker, result, failure_context) SELECT '00000000-0000-4000-8000-000000000001', "
      "'processing', id, 'success', t, '2025-01-05 13:00', 'w', '{\"n\": 1}', '{\"m\": 2}' FROM "
      "(VALUES ('late', '2025-01-05T12:00:00.5Z'), ('early', '2025-01-05T12:00:00Z'), "
      "('first', '2025-01-05T13:00:00+02:00')) v (id, t)");
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  EXPECT_EQ(TimeUtil::ToString(one.request.task().start_time()), "2025-01-05T12:00:00.500Z");
  std::vector<std::string> ids;
  for (const auto& event : one.request.events()) {
    const auto& row = event.fields().at("row").struct_value().fields();
    if (row.count("task_id") > 0) ids.push_back(row.at("task_id").string_value());
    if (row.count("task_type") == 0) continue;
    EXPECT_EQ(row.at("worker").string_value(), "w");
    EXPECT_EQ(row.at("result").struct_value().fields().at("n").number_value(), 1);
    EXPECT_EQ(row.at("failure_context").struct_value().fields().at("m").number_value(), 2);
    EXPECT_EQ(row.at("completed_at").string_value(), "2025-01-05T13:00:00");
  }
  // Of the last one, only the id: it is no UUID.
  EXPECT_THAT(ids, ElementsAre("first", "early", "late"));
}

TEST_F(LegacyReaderTest, WhatIsNoTimeIsReportedRowByRow) {
  Lay(Interviews("text"));
  const std::pair<const char*, const char*> cases[] = {
      {"1736071200", "is no time"},
      {"infinity", "is no time"},
      {"-infinity", "is no time"},
      {"infinite-future", "is no time"},
      {"0044-03-15T00:00:00 BC", "is no time"},
      {"10000-01-01T00:00:00Z", "is no time"},
      {"0000-01-01T00:00:00Z", "is no time"},
      {"2025-02-30T00:00:00Z", "is no time"},
      {"2025-01-05T10:00:00 Europe/Berlin", "is no time"},
      {"yesterday", "is no time"},
      {"", "is no time"},
      {nullptr, "created_at is null"},
  };
  int number = 0;
  for (const auto& [time, why] : cases) {
    Lay(absl::StrCat("INSERT INTO interview_sessions (id, created_at) VALUES ('",
                     absl::StrFormat("00000000-0000-4000-8000-%012d", ++number), "', ",
                     time == nullptr ? "NULL" : absl::StrCat("'", time, "'"), ")"));
  }
  Lay("INSERT INTO session_messages (session_id, content, created_at) VALUES "
      "('00000000-0000-4000-8000-000000000001', 'x', '2025-13-01')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  EXPECT_EQ(all.size(), std::size(cases));
  number = 0;
  for (const auto& [time, why] : cases) {
    const auto& one = Only(all, absl::StrFormat("00000000-0000-4000-8000-%012d", ++number));
    EXPECT_THAT(one.problems, testing::Contains(HasSubstr(why))) << number;
  }
  EXPECT_THAT(Only(all, Id(1)).problems,
              testing::Contains("session_messages 1: created_at \"2025-13-01\" is no time"));
}

// A role of the test's own, and the connection string for it.
class Reader {
 public:
  Reader(const TestDatabase& database, const std::string& attributes = "")
      : database_(database), name_(absl::StrCat("reader_", ++count)) {
    Do(absl::StrCat("CREATE ROLE ", name_, " LOGIN ", attributes));
  }
  ~Reader() { Do(absl::StrCat("DROP OWNED BY ", name_, "; DROP ROLE ", name_)); }

  const std::string& name() const { return name_; }
  std::string dsn() const { return absl::StrCat(database_.dsn(), " user=", name_); }
  void Do(const std::string& sql) const {
    const absl::Status done = database_.Connect()->Execute(sql, TestDeadline());
    EXPECT_TRUE(done.ok()) << done;
  }

 private:
  static inline int count = 0;
  const TestDatabase& database_;
  const std::string name_;
};

TEST_F(LegacyReaderTest, RowsThatARoleMayNotSeeAreSaidBeforeAnythingIsTaken) {
  Lay(Layout("interview"));
  const Reader reader(database_);
  const auto open = [&] {
    return LegacyReader::Open({.url = reader.dsn(), .layout = LegacyLayout::kInterview}).status();
  };
  const auto said = [&] { return std::string(open().message()); };
  EXPECT_THAT(said(), HasSubstr("permission denied for table interview_sessions"));
  Lay(absl::StrCat("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ", reader.name()));
  EXPECT_TRUE(open().ok()) << open();

  Lay("ALTER TABLE session_messages ENABLE ROW LEVEL SECURITY");
  EXPECT_EQ(open().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(said(), AllOf(HasSubstr("session_messages"), HasSubstr("row-level security"),
                            HasSubstr("its owner"), HasSubstr("BYPASSRLS")));
  Lay("CREATE POLICY few ON session_messages USING (id = 10)");
  EXPECT_THAT(said(), HasSubstr("row-level security"));
  // Behind a view, too.
  Lay(
      absl::StrCat("CREATE SCHEMA seen; CREATE VIEW seen.session_messages WITH (security_invoker) "
                   "AS SELECT * FROM public.session_messages;"
                   "GRANT USAGE ON SCHEMA seen TO ",
                   reader.name(), "; GRANT SELECT ON seen.session_messages TO ", reader.name(),
                   "; ALTER ROLE ", reader.name(), " SET search_path = seen, public"));
  EXPECT_THAT(said(), AllOf(HasSubstr("row-level security"), HasSubstr("BYPASSRLS")));
  Lay(absl::StrCat("ALTER ROLE ", reader.name(), " BYPASSRLS"));
  EXPECT_EQ(ReadAll({.url = reader.dsn(), .layout = LegacyLayout::kInterview}).size(), 4);
}

TEST_F(LegacyReaderTest, ATableThatTheRoleCannotReachIsNotTakenForMissing) {
  Lay(Layout("interview"));
  Lay("CREATE SCHEMA hidden; ALTER TABLE session_messages SET SCHEMA hidden");
  const Reader reader(database_);
  Lay(absl::StrCat("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ", reader.name()));
  const auto open = [&] {
    return LegacyReader::Open({.url = reader.dsn(), .layout = LegacyLayout::kInterview});
  };
  EXPECT_THAT((*open())->notes(), ElementsAre(HasSubstr("(the schema hidden has one)")));
  Lay(absl::StrCat("ALTER ROLE ", reader.name(), " SET search_path = public, hidden"));
  EXPECT_EQ(open().status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(
      std::string(open().status().message()),
      HasSubstr(absl::StrCat("the role ", reader.name(), " may not use the schema hidden")));
}

TEST_F(LegacyReaderTest, NumbersAreKeptToTheLastDigitOrTold) {
  Lay("CREATE DOMAIN wide AS bigint; CREATE DOMAIN wider AS wide; CREATE TYPE pair AS (a bigint, b "
      "float8)");
  Lay(Interviews("timestamptz", "",
                 ", j json, jb jsonb, ints bigint[], nums numeric[][], d wider, p pair, f float8, "
                 "r4 real, m money, t text, fs float8[]"));
  Lay("INSERT INTO interview_sessions VALUES "
      "('00000000-0000-4000-8000-000000000001', 'u', 'active', '2025-01-01');"
      "INSERT INTO session_messages (session_id, content, created_at, j, jb, ints, nums, d, p, f, "
      "r4, fs) VALUES ('00000000-0000-4000-8000-000000000001', 'x', '2025-01-01', "
      "'{\"a\": [1e-400, -0], \"b\": 0.1, \"c\": 1, \"c\": 2}', "
      "'{\"n\": 9007199254740993, \"s\": {\"e\": 9007199254740992}, \"x\": 1e400}',"
      "'{9007199254740993,NULL,-9223372036854775808}', '{{0.10,1e-400},{NaN,2}}', "
      "9007199254740995, (9007199254740993,'-0'), 'NaN', 0.1, '{1.5,-Infinity}')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  const auto& kept = one.request.messages(0).metadata().fields();
  const auto& json = kept.at("j").struct_value().fields();
  EXPECT_EQ(json.at("a").list_value().values(0).string_value(), "1e-400");
  EXPECT_EQ(json.at("a").list_value().values(1).string_value(), "-0");
  EXPECT_EQ(json.at("b").number_value(), 0.1);
  const auto& ints = kept.at("ints").list_value();
  EXPECT_EQ(ints.values(0).string_value(), "9007199254740993");
  EXPECT_TRUE(ints.values(1).has_null_value());
  EXPECT_EQ(ints.values(2).number_value(), -9223372036854775808.0);
  const auto& nums = kept.at("nums").list_value();
  EXPECT_EQ(nums.values(0).list_value().values(0).number_value(), 0.1);
  EXPECT_EQ(nums.values(1).list_value().values(0).string_value(), "NaN");
  EXPECT_EQ(nums.values(1).list_value().values(1).number_value(), 2);
  EXPECT_EQ(kept.at("d").string_value(), "9007199254740995");
  EXPECT_EQ(kept.at("p").struct_value().fields().at("a").string_value(), "9007199254740993");
  EXPECT_EQ(kept.at("f").string_value(), "NaN");
  EXPECT_EQ(kept.at("r4").number_value(), 0.1);
  EXPECT_EQ(kept.count("jb"), 0) << "1e400 is beyond all";
  EXPECT_THAT(one.remarks,
              testing::UnorderedElementsAre(
                  HasSubstr("session_messages 1: j.a[0]: 1e-400 cannot be kept as a number"),
                  HasSubstr("session_messages 1: j.a[1]: -0 cannot be kept as a number"),
                  HasSubstr("session_messages 1: j.c: stands twice, and the last one counts"),
                  HasSubstr("session_messages 1: jb holds a number beyond all doubles"),
                  HasSubstr("session_messages 1: p.a: 9007199254740993 cannot"),
                  HasSubstr("session_messages 1: p.b: -0 cannot"),
                  HasSubstr("session_messages 1: ints[0]: 9007199254740993 cannot"),
                  HasSubstr("session_messages 1: nums[0][1]: 0.000"),
                  HasSubstr("session_messages 1: nums[1][0]: NaN cannot"),
                  HasSubstr("session_messages 1: f NaN cannot"),
                  HasSubstr("session_messages 1: fs[1]: -Infinity cannot"),
                  HasSubstr("session_messages 1: d 9007199254740995 cannot")));
}

TEST_F(LegacyReaderTest, NumbersOfFieldsThatAreReadAreToldToo) {
  Lay(Layout("ticket_export"));
  Lay("UPDATE session_errors SET technical_details = '{\"order\": {\"id\": 9007199254740993}}' "
      "WHERE error_code = 'E17';"
      "UPDATE session_tasks SET failure_context = '{\"n\": 1e-400}' WHERE retry_count = 3");
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  EXPECT_THAT(one.remarks, testing::IsSupersetOf(
                               {HasSubstr("session_tasks 1: failure_context.n: 1e-400 cannot"),
                                HasSubstr("session_errors e0000000-0000-4000-8000-000000000001: "
                                          "technical_details.order.id: 9007199254740993 cannot")}));
  const auto& details = one.request.errors(0).technical_details().fields();
  EXPECT_EQ(details.at("order").struct_value().fields().at("id").string_value(),
            "9007199254740993");
}

TEST_F(LegacyReaderTest, TextsOfFixedLengthComeWithoutTheirBlanks) {
  Lay("CREATE DOMAIN code AS char(9)");
  Lay(Interviews("timestamptz", "",
                 ", c char(9), d code, cs char(4)[], v varchar(9), author char(20)"));
  Lay("ALTER TABLE interview_sessions ALTER user_id TYPE char(20), ALTER id TYPE char(40);"
      "INSERT INTO interview_sessions VALUES "
      "('00000000-0000-4000-8000-000000000001', 'u', 'active', '2025-01-01');"
      "INSERT INTO session_messages (session_id, content, created_at, c, d, cs, v, author) VALUES "
      "('00000000-0000-4000-8000-000000000001', 'x ', '2025-01-01', 'a', 'b', '{x,y}', 'v ', "
      "'me')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_EQ(one.request.session().owner_id(), "u");
  const auto& message = one.request.messages(0);
  EXPECT_EQ(message.content(), "x ") << "of a text they are its own";
  EXPECT_EQ(message.author(), "me");
  const auto& kept = message.metadata().fields();
  EXPECT_EQ(kept.at("c").string_value(), "a");
  EXPECT_EQ(kept.at("d").string_value(), "b");
  EXPECT_EQ(kept.at("cs").list_value().values(0).string_value(), "x");
  EXPECT_EQ(kept.at("v").string_value(), "v ");
}

TEST_F(LegacyReaderTest, ColumnsMayHaveAnyName) {
  Lay(Interviews("timestamptz"));
  std::vector<std::string> names = {"r",           "t",
                                    "s",           "v",
                                    "row",         "value",
                                    "T",           "select",
                                    "a\"b",        "$1",
                                    "a$b",         "a.b",
                                    "a b",         "ä",
                                    "'",           "\\",
                                    "user",        "session_messages",
                                    "created_at ", std::string(63, 'l')};
  for (const std::string& name : names) {
    const std::string quoted = absl::StrReplaceAll(name, {{"\"", "\"\""}});
    Lay(absl::StrCat("ALTER TABLE session_messages ADD COLUMN \"", quoted, "\" text DEFAULT '",
                     name == "'" ? "''" : quoted, "'"));
  }
  Lay("INSERT INTO interview_sessions VALUES "
      "('00000000-0000-4000-8000-000000000001', 'u', 'active', '2025-01-01');"
      "INSERT INTO session_messages (session_id, content, created_at) VALUES "
      "('00000000-0000-4000-8000-000000000001', 'x', '2025-01-01')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  const auto& kept = one.request.messages(0).metadata().fields();
  for (const std::string& name : names) {
    ASSERT_EQ(kept.count(name), 1) << name;
    EXPECT_EQ(kept.at(name).string_value(), absl::StrReplaceAll(name, {{"\"", "\"\""}}));
  }
}

TEST_F(LegacyReaderTest, NeitherTheEnvironmentNorTheRoleChangesWhatIsRead) {
  Lay(Layout("interview"));
  Lay("ALTER TABLE session_messages ADD f float8 DEFAULT 0.1::float8 + 0.2::float8, ADD i interval "
      "DEFAULT "
      "'1 day 2:03', ADD at timestamptz DEFAULT '2025-01-05 10:00+02', ADD day tstzrange DEFAULT "
      "'[2025-01-05 10:00+02,2025-02-05 10:00+02)', ADD list bytea[] DEFAULT '{\"\\\\xff\"}';"
      "UPDATE session_messages SET content = 'ä' WHERE id = 10");
  const Reader reader(database_);
  const LegacyReader::Options options{.url = reader.dsn(), .layout = LegacyLayout::kInterview};
  Lay(absl::StrCat("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ", reader.name()));
  const auto told = [&] {
    std::string all;
    for (const auto& [id, session] : ReadAll(options)) {
      google::protobuf::TextFormat::Printer printer;
      std::string text;
      printer.PrintToString(session.request, &text);
      absl::StrAppend(&all, text);
    }
    return all;
  };
  const std::string before = told();
  EXPECT_THAT(before, AllOf(HasSubstr("0.30000000000000004"), HasSubstr("\\303\\244")));
  for (const char* setting :
       {"client_encoding = 'LATIN1'", "\"DateStyle\" = 'SQL, DMY'", "\"TimeZone\" = 'Asia/Kolkata'",
        "\"IntervalStyle\" = 'iso_8601'", "extra_float_digits = -10", "bytea_output = 'escape'",
        "search_path = '$user', public, pg_catalog", "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
        "default_transaction_read_only = on", "statement_timeout = '1s'", "lock_timeout = '1s'",
        "row_security = on", "backslash_quote = off", "escape_string_warning = off"}) {
    Lay(absl::StrCat("ALTER ROLE ", reader.name(), " SET ", setting));
  }
  EXPECT_EQ(told(), before);
  const std::pair<const char*, const char*> variables[] = {
      {"PGCLIENTENCODING", "LATIN1"},
      {"PGDATESTYLE", "German"},
      {"PGTZ", "America/New_York"},
      {"PGOPTIONS", "-c extra_float_digits=-10 -c client_encoding=SJIS"},
  };
  for (const auto& [name, value] : variables) setenv(name, value, 1);
  EXPECT_EQ(told(), before);
  for (const auto& [name, value] : variables) unsetenv(name);
  Lay(
      absl::StrCat("CREATE FUNCTION public.to_json(anyelement) RETURNS json LANGUAGE sql AS $$ "
                   "SELECT '\"fooled\"'::json $$"));
  EXPECT_EQ(told(), before) << "a function of ours is meant, not one of that name";
}

TEST_F(LegacyReaderTest, AShellThatIsSetUpForAnotherDatabaseLeadsNobodyElsewhere) {
  Lay(Layout("interview"));
  Lay("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.interview_sessions "
      "(LIKE public.interview_sessions); SET search_path = elsewhere; "
      "CREATE TABLE session_messages (LIKE public.session_messages)");
  const auto before = ReadAll(LegacyLayout::kInterview).size();
  EXPECT_GT(before, 0);
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"PGHOSTADDR", "127.0.0.1"},
                                          {"PGPORT", "1"},
                                          {"PGSERVICE", "another"},
                                          {"PGTARGETSESSIONATTRS", "standby"},
                                          {"PGOPTIONS", "-csearch_path=elsewhere"}}) {
    setenv(name.c_str(), value.c_str(), 1);
    EXPECT_EQ(ReadAll(LegacyLayout::kInterview).size(), before) << name;
    unsetenv(name.c_str());
  }
}

// ---- encodings

// A database of its own encoding.
class Encoded {
 public:
  Encoded(const TestDatabase& database, const std::string& encoding)
      : database_(database), name_(absl::StrCat("encoded_", absl::AsciiStrToLower(encoding))) {
    Do(*database_.Connect(), absl::StrCat("CREATE DATABASE ", name_, " ENCODING '", encoding,
                                          "' TEMPLATE template0 LOCALE 'C'"));
  }
  ~Encoded() { Do(*database_.Connect(), absl::StrCat("DROP DATABASE ", name_, " WITH (FORCE)")); }

  std::string dsn() const { return TestCluster().dsn(name_); }
  void Lay(const std::string& sql) const {
    auto connection = Connection::Open({.dsn = dsn()}, TestDeadline());
    ASSERT_TRUE(connection.ok()) << connection.status();
    Do(**connection, "SET client_encoding = 'SQL_ASCII'");
    Do(**connection, sql);
  }

 private:
  static void Do(Connection& connection, const std::string& sql) {
    const absl::Status done = connection.Execute(sql, TestDeadline());
    EXPECT_TRUE(done.ok()) << done;
  }

  const TestDatabase& database_;
  const std::string name_;
};

// Seven sessions; the messages of some cannot be read.
constexpr char kSeven[] =
    "INSERT INTO interview_sessions (id, created_at) SELECT "
    "lpad(i::text, 32, '0')::uuid, '2025-01-01' FROM generate_series(1, 7) i;"
    "INSERT INTO session_messages (session_id, created_at, content, author) SELECT "
    "id, '2025-01-01', CASE WHEN id::text LIKE '%4' THEN E'x\\x81' ELSE E'caf\\xe9' END, "
    "E'\\xfc' FROM interview_sessions ORDER BY id;";

TEST_F(LegacyReaderTest, ADatabaseOfAnotherEncodingIsConvertedAndItsBadRowsAreTold) {
  const Encoded source(database_, "WIN1252");
  source.Lay(Interviews("timestamptz", "", ", author text, \"na\xefve\" text DEFAULT E'\\x80'"));
  source.Lay(kSeven);
  const auto all = ReadAll({.url = source.dsn(), .layout = LegacyLayout::kInterview});
  EXPECT_EQ(all.size(), 7);
  int good = 0;
  for (const auto& [id, session] : all) {
    ASSERT_EQ(session.request.messages_size(), 1) << id;
    const auto& message = session.request.messages(0);
    EXPECT_EQ(message.author(), "ü");
    EXPECT_EQ(message.metadata().fields().at("naïve").string_value(), "€");
    if (absl::EndsWith(id, "4")) {
      EXPECT_THAT(session.problems,
                  ElementsAre(AllOf(HasSubstr("session_messages 4: content cannot be read"),
                                    HasSubstr("0x81"), HasSubstr("WIN1252"))));
    } else {
      EXPECT_EQ(message.content(), "café");
      EXPECT_THAT(session.problems, IsEmpty());
      ++good;
    }
  }
  EXPECT_EQ(good, 6);
}

TEST_F(LegacyReaderTest, OfADatabaseWithoutAnEncodingWhatIsNoUtf8IsToldAndTheRestTaken) {
  const Encoded source(database_, "SQL_ASCII");
  source.Lay(Interviews("timestamptz", "", ", author text"));
  source.Lay(kSeven);
  source.Lay(
      "UPDATE session_messages SET content = 'ä', author = 'ö' WHERE id < 4;"
      "UPDATE session_messages SET author = 'ö' WHERE id = 5");
  LegacyReader::Options options{.url = source.dsn(), .layout = LegacyLayout::kInterview};
  std::vector<std::string> problems;
  for (const auto& [id, session] : ReadAll(options)) {
    problems.push_back(absl::StrJoin(session.problems, "; "));
  }
  EXPECT_THAT(problems, ElementsAre("", "", "",
                                    AllOf(HasSubstr("session_messages 4: content is not UTF-8"),
                                          HasSubstr("session_messages 4: author is not UTF-8")),
                                    AllOf(HasSubstr("content is not UTF-8"),
                                          testing::Not(HasSubstr("author"))),
                                    HasSubstr("session_messages 6: content"), HasSubstr("author")));
  // Or they are said to be something.
  source.Lay("UPDATE session_messages SET content = E'caf\\xe9', author = E'\\xfc'");
  options.encoding = "LATIN1";
  for (const auto& [id, session] : ReadAll(options)) {
    EXPECT_THAT(session.problems, IsEmpty());
    EXPECT_EQ(session.request.messages(0).content(), "café");
  }
  options.encoding = "KLINGON";
  EXPECT_THAT(std::string(LegacyReader::Open(options).status().message()),
              HasSubstr("\"KLINGON\" is no encoding"));
  // Of clients alone: bytes of its characters may be those of a backslash.
  for (const char* encoding : {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"}) {
    options.encoding = encoding;
    EXPECT_THAT(std::string(LegacyReader::Open(options).status().message()),
                HasSubstr(absl::StrCat(encoding, " has characters with bytes of ASCII in them")));
  }
  for (const char* encoding : {"EUC_JIS_2004", "KOI8U"}) {
    options.encoding = encoding;
    EXPECT_TRUE(LegacyReader::Open(options).ok()) << encoding;
  }
  options = {.url = database_.dsn(), .layout = LegacyLayout::kInterview, .encoding = "LATIN1"};
  EXPECT_THAT(std::string(LegacyReader::Open(options).status().message()),
              HasSubstr("says itself that its encoding is UTF8"));
}

// ---- tables of every kind

TEST_F(LegacyReaderTest, TablesMayBeViewsPartitionsOrParentsAndColumnsOfAnyType) {
  Lay("CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN word AS text;"
      "CREATE TABLE people (id uuid, user_id text, status text, created_at timestamptz, m mood,"
      " w word, twice text GENERATED ALWAYS AS (user_id || user_id) STORED, x xml, ip inet, "
      " bits bit(3), span interval, point point, empty text);"
      "INSERT INTO people VALUES ('00000000-0000-4000-8000-000000000001', 'u', 'active', "
      "'2025-01-01', 'glad', 'w', DEFAULT, '<a/>', '::1', '101', '1 day', '(1,2)', '');"
      "CREATE VIEW interview_sessions AS SELECT * FROM people;"
      "CREATE TABLE session_messages (session_id uuid, id bigint, message_type text, content text,"
      " created_at timestamptz) PARTITION BY LIST (message_type);"
      "CREATE TABLE questions PARTITION OF session_messages FOR VALUES IN ('question');"
      "CREATE TABLE answers PARTITION OF session_messages DEFAULT;"
      "INSERT INTO session_messages VALUES ('00000000-0000-4000-8000-000000000001', 10, 'question',"
      " 'q', '2025-01-01'), ('00000000-0000-4000-8000-000000000001', 9, 'answer', repeat('ä', "
      "500000)"
      ", '2025-01-01')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  EXPECT_THAT(one.remarks, IsEmpty());
  ASSERT_EQ(one.request.messages_size(), 2);
  EXPECT_EQ(one.request.messages(0).content().size(), 1000000);
  ASSERT_EQ(one.request.events_size(), 1);
  const auto& row = one.request.events(0).fields().at("row").struct_value().fields();
  const std::pair<const char*, const char*> kept[] = {
      {"m", "glad"},   {"w", "w"},        {"twice", "uu"},    {"x", "<a/>"}, {"ip", "::1"},
      {"bits", "101"}, {"span", "1 day"}, {"point", "(1,2)"}, {"empty", ""}};
  for (const auto& [column, text] : kept) EXPECT_EQ(row.at(column).string_value(), text) << column;
  // The numbers that the messages had.
  EXPECT_EQ(one.request.messages(0).metadata().fields().at("id").number_value(), 9);
}

TEST_F(LegacyReaderTest, WhatIsNotTakenOverIsToldWithItsRowAndColumn) {
  Lay(Layout("ticket_export"));
  Lay("ALTER TABLE sessions ADD big text, ADD deep jsonb, ADD nul json;"
      "UPDATE sessions SET big = repeat('x', 9000), deep = (repeat('[', 13) || repeat(']', 13))"
      "::jsonb WHERE jira_user_id = 'jira-7';"
      "UPDATE uploaded_files SET uploaded_at = NULL");
  const auto all = ReadAll(LegacyLayout::kTicketExport);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_THAT(one.problems, IsEmpty());
  EXPECT_THAT(one.remarks,
              testing::UnorderedElementsAre(
                  AllOf(HasSubstr("sessions: big has 900"), HasSubstr("not taken over")),
                  HasSubstr("sessions: deep is nested deeper than 12 levels: not taken over"),
                  HasSubstr("sessions: serial 9007199254740993 cannot be kept as a number"),
                  "uploaded_files 1: content has 2 bytes of no text: not taken over",
                  HasSubstr("uploaded_files 1: uploaded_at is null")));
  EXPECT_EQ(one.request.artifacts(0).create_time().seconds(),
            one.request.session().create_time().seconds());
}

TEST_F(LegacyReaderTest, OfTwoRowsOfOneSessionTheSecondIsReported) {
  Lay(Interviews("timestamptz"));
  Lay("INSERT INTO interview_sessions VALUES ('00000000-0000-4000-8000-000000000001', 'a', "
      "'active',"
      " '2025-01-01'), ('00000000-0000-4000-8000-000000000001', 'b', 'active', '2025-01-01')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  ASSERT_EQ(all.size(), 2);
  int reported = 0;
  for (const auto& [id, session] : all) {
    if (!session.problems.empty()) {
      EXPECT_THAT(session.problems,
                  ElementsAre("interview_sessions: id stands in another row, too"));
      ++reported;
    }
  }
  EXPECT_EQ(reported, 1);
}

TEST_F(LegacyReaderTest, WhatEndedNobodyKnowsWhenEndedWithTheLastThatIsKnownOfIt) {
  Lay(Interviews("timestamptz", ", updated_at timestamptz"));
  Lay("INSERT INTO interview_sessions VALUES ('00000000-0000-4000-8000-000000000001', 'a', "
      "'completed', '2025-01-01', '2025-01-02');"
      "INSERT INTO session_messages (session_id, content, created_at) VALUES "
      "('00000000-0000-4000-8000-000000000001', 'x', '2025-01-03')");
  const auto all = ReadAll(LegacyLayout::kInterview);
  const LegacyReader::Session& one = Only(all, Id(1));
  EXPECT_EQ(TimeUtil::ToString(one.request.session().complete_time()), "2025-01-03T00:00:00Z");
}

// ---- at random

// A value of some type, as SQL writes it, and how to recognize it where it was kept.
struct Drawn {
  std::string sql;
  std::function<bool(const google::protobuf::Value&)> is_kept;
};

class Drawing {
 public:
  explicit Drawing(uint64_t seed) : random_(seed) {}

  int64_t Below(int64_t count) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(count));
  }
  // In all the ways that people write the same instant: seconds and microseconds since 1970.
  std::string Time(int64_t micros) {
    const int hours = static_cast<int>(Below(27)) - 13;
    const absl::TimeZone zone = absl::FixedTimeZone(hours * 3600);
    const absl::Time time = absl::FromUnixMicros(micros);
    const char* formats[] = {"%Y-%m-%dT%H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E6S%Ez",
                             "%Y-%m-%d %H:%M:%E*S %z"};
    const char* utc[] = {"%Y-%m-%dT%H:%M:%E*SZ", "%Y-%m-%d %H:%M:%E*S", "%Y-%m-%d %H:%M:%E6S UTC"};
    return Below(2) == 0 ? absl::FormatTime(formats[Below(3)], time, zone)
                         : absl::FormatTime(utc[Below(3)], time, absl::UTCTimeZone());
  }
  std::string Text(int64_t size) {
    const char* characters[] = {"a",  "ä",  "€",  "😀", "\"", "\\", "''",
                                "\n", "\t", "$1", "{", "}",  " "};
    std::string text;
    for (int64_t i = 0; i < size; ++i) absl::StrAppend(&text, characters[Below(13)]);
    return absl::StrCat(text, ".");
  }
  // A whole number of up to 64 bits, small ones as likely as large ones.
  int64_t Whole() {
    const int64_t number = static_cast<int64_t>(random_() >> (1 + Below(62)));
    return Below(2) == 0 ? number : -number;
  }
  Drawn Value(const std::string& type) {
    const auto is_text = [](std::string text) {
      return [text](const google::protobuf::Value& value) { return value.string_value() == text; };
    };
    if (type == "text" || type == "varchar(99999)") {
      const std::string quoted = Text(Below(8) == 0 ? 9000 : Below(9));
      return {absl::StrCat("'", quoted, "'"), is_text(absl::StrReplaceAll(quoted, {{"''", "'"}}))};
    }
    if (type == "char(30)") return {"'blank '", is_text("blank")};
    const std::string whole = absl::StrCat(Whole());
    const bool is_double = absl::StrFormat("%.0f", static_cast<double>(std::stoll(whole))) == whole;
    const auto is_whole = [whole, is_double](const google::protobuf::Value& value) {
      return is_double ? absl::StrFormat("%.0f", value.number_value()) == whole
                       : value.string_value() == whole;
    };
    if (type == "bigint" || type == "numeric") return {whole, is_whole};
    if (type == "bytea") return {"'\\x00ff'", [](const auto&) { return false; }};
    if (type == "bigint[]") {
      return {absl::StrCat("'{", whole, ",NULL}'"),
              [is_whole](const google::protobuf::Value& value) {
                return is_whole(value.list_value().values(0)) &&
                       value.list_value().values(1).has_null_value();
              }};
    }
    if (type == "float8") {
      const double number = static_cast<double>(Whole()) / 1024;
      return {absl::StrFormat("'%.17g'", number), [number](const google::protobuf::Value& value) {
                return value.has_number_value() && value.number_value() == number;
              }};
    }
    // json and jsonb: a number somewhere in it, which a double is or is not.
    return {absl::StrFormat("'{\"a\": [true, {\"n\": %s}]}'", whole),
            [is_whole](const google::protobuf::Value& value) {
              const auto& n = value.struct_value()
                                  .fields()
                                  .at("a")
                                  .list_value()
                                  .values(1)
                                  .struct_value()
                                  .fields()
                                  .at("n");
              return is_whole(n);
            }};
  }

 private:
  std::mt19937_64 random_;
};

TEST_F(LegacyReaderTest, WhateverThereIsIsKeptAsItWasOrTold) {
  Drawing draw(TestSeed());
  constexpr const char* kTypes[] = {"text",  "varchar(99999)", "char(30)", "bigint", "numeric",
                                    "bytea", "bigint[]",       "float8",   "json",   "jsonb"};
  Lay(Interviews("text"));
  std::vector<std::string> types;
  for (int i = 0; i < 12; ++i) {
    types.push_back(kTypes[draw.Below(std::size(kTypes))]);
    Lay(absl::StrCat("ALTER TABLE session_messages ADD c", i, " ", types.back()));
  }
  struct Row {
    int64_t micros;
    int id;
    std::vector<std::optional<Drawn>> values;
  };
  std::map<std::string, std::vector<Row>> sessions;
  std::vector<std::string> rows;
  constexpr int64_t kBegin = 1'735'689'600'000'000;  // 2025-01-01
  for (int id = 1; id <= 120; ++id) {
    const std::string session =
        absl::StrFormat("00000000-0000-4000-8000-%012d", draw.Below(20) + 1);
    Row row{.micros = kBegin + draw.Below(4) * 500'000 + draw.Below(3), .id = id};
    std::string sql = absl::StrCat("('", session, "', ", id, ", 'answer', 'm", id, "', '",
                                   draw.Time(row.micros), "'");
    for (const std::string& type : types) {
      row.values.push_back(draw.Below(4) == 0 ? std::nullopt : std::optional(draw.Value(type)));
      absl::StrAppend(&sql, ", ", row.values.back().has_value() ? row.values.back()->sql : "NULL");
    }
    rows.push_back(absl::StrCat(sql, ")"));
    sessions[session].push_back(std::move(row));
  }
  Lay(absl::StrCat("INSERT INTO session_messages VALUES ", absl::StrJoin(rows, ",")));
  Lay("INSERT INTO interview_sessions SELECT DISTINCT session_id, 'u', 'active', '2025-01-01' "
      "FROM session_messages");

  const auto all = ReadAll(LegacyLayout::kInterview);
  EXPECT_EQ(all.size(), sessions.size());
  for (auto& [id, expected] : sessions) {
    const LegacyReader::Session& session = Only(all, id);
    EXPECT_THAT(session.problems, IsEmpty());
    std::sort(expected.begin(), expected.end(), [](const Row& a, const Row& b) {
      return std::tie(a.micros, a.id) < std::tie(b.micros, b.id);
    });
    ASSERT_EQ(session.request.messages_size(), static_cast<int>(expected.size()));
    for (int i = 0; i < session.request.messages_size(); ++i) {
      const v1::SessionMessage& message = session.request.messages(i);
      const Row& row = expected[static_cast<std::size_t>(i)];
      EXPECT_EQ(message.content(), absl::StrCat("m", row.id));
      EXPECT_EQ(TimeUtil::TimestampToMicroseconds(message.create_time()), row.micros);
      for (std::size_t c = 0; c < row.values.size(); ++c) {
        if (!row.values[c].has_value()) continue;
        const std::string column = absl::StrCat("c", c);
        const auto kept = message.metadata().fields().find(column);
        const bool is_kept =
            kept != message.metadata().fields().end() && row.values[c]->is_kept(kept->second);
        const std::string place = absl::StrCat("session_messages ", row.id, ": ", column);
        const bool is_told = std::any_of(
            session.remarks.begin(), session.remarks.end(), [&](const std::string& remark) {
              return absl::StartsWith(remark, place + " ") ||
                     absl::StartsWith(remark, place + ".") || absl::StartsWith(remark, place + "[");
            });
        EXPECT_TRUE(is_kept || is_told) << place << " " << types[c] << " " << row.values[c]->sql;
        // And nothing is told of what is as it was.
        const bool has_digits = types[c] == "bigint" || types[c] == "numeric" ||
                                types[c] == "bigint[]" || types[c] == "json" || types[c] == "jsonb";
        const bool is_same = is_kept && !has_digits;
        EXPECT_FALSE(is_same && is_told) << place;
      }
    }
  }
}

TEST(LegacyReader, ADatabaseThatIsNotThereIsUnavailable) {
  const auto reader =
      LegacyReader::Open({.url = "postgresql://127.0.0.1:1/x", .layout = LegacyLayout::kExecution});
  EXPECT_TRUE(absl::IsUnavailable(reader.status()));
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("refused"));
}

}  // namespace
}  // namespace sessiond::db
