// The three old applications' tables, as plain tables with rows as people leave them, bad ones
// among them, and what is read out of them.
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "db/legacy_reader.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "tests/postgres_fixture.h"

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
  std::multimap<std::string, LegacyReader::Session> ReadAll(LegacyLayout layout) {
    auto reader = Open(layout);
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
  EXPECT_THAT(tables, ElementsAre("sessions", "session_tasks"));
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
  EXPECT_EQ(request.artifacts(0).metadata().fields().at("size_bytes").string_value(), "12345");
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
  EXPECT_EQ(one.request.messages(1).metadata().fields().at("score").string_value(), "0.5");
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

TEST(LegacyReader, ADatabaseThatIsNotThereIsUnavailable) {
  const auto reader =
      LegacyReader::Open({.url = "postgresql://127.0.0.1:1/x", .layout = LegacyLayout::kExecution});
  EXPECT_TRUE(absl::IsUnavailable(reader.status()));
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("refused"));
}

}  // namespace
}  // namespace sessiond::db
