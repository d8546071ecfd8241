// What rows of the old applications become, of which no database is needed to see it: times that do
// not hold together, ends that nobody wrote down, numbers.
#include "client/legacy/legacy_rows.h"

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/legacy/exact_json.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"

namespace sessiond::db {
namespace {

using google::protobuf::Timestamp;
using google::protobuf::util::TimeUtil;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A session out of the rows of its tables, each with its columns by the names that are looked for
// first, as a reader puts it together.
class Rows {
 public:
  explicit Rows(LegacyLayout layout) : layout_(layout) {}

  // A row, its columns as JSON; `digits` are columns of numbers.
  void Add(const char* table, const std::string& json,
           const std::map<std::string, std::string>& digits = {}) {
    const LegacyTable& of = TableOf(table);
    std::map<std::string, std::string>& columns = columns_.emplace_back();
    for (const LegacyColumn& column : of.columns) columns.emplace(column.field, column.names[0]);
    std::map<std::string, LegacyCell> cells;
    const auto values = ParseExactJson(json);
    ASSERT_TRUE(values.ok()) << values.status();
    for (const auto& [column, value] : values->value.struct_value().fields()) {
      cells[column].value = value;
    }
    for (const auto& [column, text] : digits) {
      LegacyCell& cell = cells[column];
      cell.digits = text;
      cell.value.set_string_value(text);
      ReadDigits(cell.value, cell.changes);
    }
    rows_[&of].emplace_back(of, columns, std::move(cells), findings_);
  }
  v1::ImportSessionsRequest Read() {
    v1::ImportSessionsRequest request;
    for (const LegacyTable& table : TablesOf(layout_)) {
      AddLegacyRows(layout_, rows_[&table], request);
    }
    CompleteLegacySession(layout_, rows_[&TablesOf(layout_)[0]][0], request);
    return request;
  }
  const std::vector<std::string>& problems() const { return findings_.problems; }
  const std::vector<std::string>& remarks() const { return findings_.remarks; }

 private:
  const LegacyTable& TableOf(const std::string& name) {
    for (const LegacyTable& table : TablesOf(layout_)) {
      if (table.name == name) return table;
    }
    ADD_FAILURE() << name;
    return TablesOf(layout_)[0];
  }

  const LegacyLayout layout_;
  LegacyFindings findings_;
  std::deque<std::map<std::string, std::string>> columns_;
  std::map<const LegacyTable*, std::vector<LegacyRow>> rows_;
};

// A session of the ticket export, with more columns.
std::string Ticket(const std::string& more) {
  return absl::StrCat(
      R"({"id": "a", "jira_user_id": "u", "current_stage": "upload", "created_at": "2025-01-01", )",
      more, "}");
}

std::string At(const Timestamp& time) { return TimeUtil::ToString(time); }

// ---- clocks

TEST(LegacyRows, WhatClocksDifferByIsTakenForTheSameTimeAndTold) {
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "completed", "completed_at": "2025-01-02T00:00:00",
                                 "is_deleted": true, "deleted_at": "2025-01-01T23:59:59")"));
  rows.Add("session_tasks", R"({"id": "t", "task_type": "export", "status": "success",
      "started_at": "2024-12-31T23:59:58.5", "completed_at": "2025-01-02T00:00:00.000003"})");
  rows.Add("uploaded_files", R"({"id": "f", "uploaded_at": "2025-01-02T00:00:05"})");
  rows.Add("session_errors", R"({"id": "e", "error_category": "temporary", "severity": "info",
      "created_at": "2025-01-01T08:00:00", "resolved_at": "2025-01-01T07:59:59.999999"})");
  const auto request = rows.Read();
  EXPECT_THAT(rows.problems(), IsEmpty());
  EXPECT_EQ(At(request.session().delete_time()), "2025-01-02T00:00:00Z");
  EXPECT_EQ(At(request.task().start_time()), "2025-01-01T00:00:00Z");
  EXPECT_EQ(At(request.task().complete_time()), "2025-01-02T00:00:00Z");
  EXPECT_EQ(At(request.artifacts(0).create_time()), "2025-01-02T00:00:00Z");
  EXPECT_EQ(At(request.errors(0).resolve_time()), "2025-01-01T08:00:00Z");
  EXPECT_THAT(
      rows.remarks(),
      ElementsAre(
          "sessions: deleted_at lies 1s before the session's completion: taken for the same time",
          "session_tasks t: started_at lies 1.5s before the session's beginning: taken for the "
          "same time",
          "session_tasks t: completed_at lies 3us behind the session's completion: taken for the "
          "same time",
          "uploaded_files f: uploaded_at lies 5s behind the session's completion: taken for the "
          "same time",
          "session_errors e: resolved_at lies 1us before when it was recorded: taken for the same "
          "time"));
  // And what was there is kept.
  const auto& metadata = request.artifacts(0).metadata().fields();
  EXPECT_EQ(metadata.at("uploaded_at").string_value(), "2025-01-02T00:00:05");
}

TEST(LegacyRows, AMessageAMomentOffDoesNotLoseItsSession) {
  Rows rows(LegacyLayout::kInterview);
  rows.Add(
      "interview_sessions",
      R"({"id": "a", "user_id": "u", "status": "completed", "created_at": "2025-01-01T10:00:00",
               "completed_at": "2025-01-01T11:00:00"})");
  for (const char* time : {"09:59:59.999999", "10:30:00", "11:00:05.000001"}) {
    rows.Add("session_messages",
             absl::StrCat(R"({"id": "m", "message_type": "question", "created_at": "2025-01-01T)",
                          time, "\"}"));
  }
  const auto request = rows.Read();
  ASSERT_EQ(request.messages_size(), 3);
  EXPECT_EQ(At(request.messages(0).create_time()), "2025-01-01T10:00:00Z");
  EXPECT_EQ(At(request.messages(1).create_time()), "2025-01-01T10:30:00Z");
  // What is further off is no matter of clocks: the daemon says what it thinks of it.
  EXPECT_EQ(At(request.messages(2).create_time()), "2025-01-01T11:00:05.000001Z");
  EXPECT_THAT(rows.remarks(), ElementsAre(HasSubstr("lies 1us before the session's beginning")));
}

TEST(LegacyRows, AGuessIsKeptInBoundsHoweverFarItIsOff) {
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "completed", "completed_at": "2025-01-02")"));
  rows.Add("session_tasks", R"({"id": "t", "task_type": "export", "status": "success",
      "started_at": "2025-01-01T01:00:00", "updated_at": "2025-03-01"})");
  const auto request = rows.Read();
  EXPECT_EQ(At(request.task().complete_time()), "2025-01-02T00:00:00Z");
  EXPECT_THAT(rows.remarks(), ElementsAre(HasSubstr("session_tasks t: updated_at lies 1392h "
                                                    "behind the session's completion")));
}

// ---- ends

TEST(LegacyRows, WhatWasDeletedNobodyKnowsWhenWasDeletedAfterAllElse) {
  for (const char* ended : {R"("status": "completed", "completed_at": "2025-01-05")",
                            R"("status": "failed", "failed_at": "2025-01-05")",
                            R"("status": "completed", "completed_at": "2025-01-05T00:00:00",
                               "updated_at": "2025-01-03")"}) {
    Rows rows(LegacyLayout::kTicketExport);
    rows.Add("sessions", Ticket(absl::StrCat(ended, R"(, "is_deleted": true)")));
    const auto request = rows.Read();
    EXPECT_EQ(request.session().state(), v1::Session::DELETED);
    EXPECT_EQ(At(request.session().delete_time()), "2025-01-05T00:00:00Z") << ended;
  }
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "deleted", "completed_at": "2025-01-05")"));
  EXPECT_EQ(At(rows.Read().session().delete_time()), "2025-01-05T00:00:00Z");
}

TEST(LegacyRows, WhatEndedNobodyKnowsWhenDidSoBeforeItWasDeleted) {
  for (const std::string status : {"completed", "failed"}) {
    Rows rows(LegacyLayout::kTicketExport);
    rows.Add("sessions", Ticket(absl::StrCat(R"("status": ")", status, R"(", "updated_at":
        "2025-01-05T00:00:00.000001", "deleted_at": "2025-01-05")")));
    const auto request = rows.Read();
    const auto& session = request.session();
    EXPECT_EQ(At(status == "failed" ? session.fail_time() : session.complete_time()),
              "2025-01-05T00:00:00Z");
    EXPECT_EQ(At(session.delete_time()), "2025-01-05T00:00:00Z");
  }
}

// ---- numbers and depth

TEST(LegacyRows, NumbersStayNumbersWhereADoubleIsTheSame) {
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "active")"), {{"serial", "9007199254740993"}});
  rows.Add("session_tasks", R"({"task_type": "export", "status": "running",
      "started_at": "2025-01-01T01:00:00"})",
           {{"id", "9007199254740993"}, {"progress", "45"}, {"result", "1152921504606846977"}});
  rows.Add("uploaded_files", R"({"original_filename": "a", "uploaded_at": "2025-01-02"})",
           {{"id", "1152921504606846976"}, {"size_bytes", "12345"}, {"ratio", "0.50"}});
  const auto request = rows.Read();
  EXPECT_EQ(request.task().progress().fields().at("percent").number_value(), 45);
  EXPECT_EQ(request.task().result().fields().at("result").string_value(), "1152921504606846977");
  // Read as a text it has all of its digits, and that is nothing to tell.
  EXPECT_EQ(request.artifacts(0).artifact_id(), "file-1152921504606846976");
  const auto& metadata = request.artifacts(0).metadata().fields();
  EXPECT_EQ(metadata.at("size_bytes").number_value(), 12345);
  EXPECT_EQ(metadata.at("ratio").number_value(), 0.5);
  const auto& row = request.events(0).fields().at("row").struct_value().fields();
  EXPECT_EQ(row.at("serial").string_value(), "9007199254740993");
  EXPECT_THAT(rows.remarks(),
              testing::UnorderedElementsAre(
                  "sessions: serial 9007199254740993 cannot be kept as a number, only as a text",
                  "session_tasks 9007199254740993: result 1152921504606846977 cannot be kept as a "
                  "number, only as a text"));
}

TEST(LegacyRows, AWordThatIsWrittenOtherwiseHereIsKeptAsItWas) {
  Rows interview(LegacyLayout::kInterview);
  interview.Add("interview_sessions",
                R"({"id": "a", "user_id": "u", "status": "active", "created_at": "2025-01-01"})");
  for (const char* type : {"Behavioral - Leadership", "technical"}) {
    interview.Add("session_messages",
                  absl::StrCat(R"({"id": "m", "message_type": "question", "content": "x",
                                   "created_at": "2025-01-01", "question_type": ")",
                               type, "\"}"));
  }
  const auto messages = interview.Read().messages();
  EXPECT_EQ(messages[0].question_type(), "behavioral___leadership");
  EXPECT_EQ(messages[0].metadata().fields().at("question_type").string_value(),
            "Behavioral - Leadership");
  EXPECT_EQ(messages[1].question_type(), "technical");
  EXPECT_EQ(messages[1].metadata().fields().count("question_type"), 0);

  Rows ticket(LegacyLayout::kTicketExport);
  ticket.Add("sessions", Ticket(R"("status": "active")"));
  ticket.Add("session_tasks",
             R"({"task_type": "Final Export", "status": "running", "started_at": "2025-01-01"})");
  ticket.Add("session_errors", R"({"id": "00000000-0000-4000-8000-000000000001",
      "error_category": "temporary", "severity": "info", "user_message": "x",
      "operation_stage": "Upload / PDF"})");
  const auto request = ticket.Read();
  EXPECT_EQ(request.task().task_type(), "final_export");
  EXPECT_EQ(request.errors(0).operation_stage(), "upload_/_pdf");
  std::vector<std::string> kept;
  for (const auto& event : request.events()) {
    for (const auto& [column, value] : event.fields().at("row").struct_value().fields())
      kept.push_back(absl::StrCat(column, "=", value.string_value()));
  }
  EXPECT_THAT(kept, ElementsAre("task_type=Final Export", "operation_stage=Upload / PDF"));
}

TEST(LegacyRows, TheIdOfATasksRowIsKeptThoughNothingElseIs) {
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "active")"));
  rows.Add("session_tasks", R"({"id": "task-17", "task_type": "export", "status": "running",
      "started_at": "2025-01-01"})");
  const auto request = rows.Read();
  ASSERT_EQ(request.events_size(), 1);
  EXPECT_EQ(request.events(0).fields().at("table").string_value(), "session_tasks");
  EXPECT_EQ(request.events(0).fields().at("id").string_value(), "task-17");
}

TEST(LegacyRows, WhatIsTooDeepForAStructIsSaidWithItsRowAndPath) {
  std::string deep = "1";
  for (int i = 0; i < kStructLevelsMax + 1; ++i) deep = absl::StrCat(R"({\"a\": )", deep, "}");
  Rows rows(LegacyLayout::kTicketExport);
  rows.Add("sessions", Ticket(R"("status": "active")"));
  rows.Add("session_errors",
           absl::StrCat(R"({"id": "e", "error_category": "temporary", "severity": "info",
                            "technical_details": ")",
                        deep, "\"}"));
  rows.Read();
  EXPECT_THAT(rows.problems(),
              ElementsAre("session_errors e: technical_details is nested deeper than 16 levels, "
                          "at a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"));
}

}  // namespace
}  // namespace sessiond::db
