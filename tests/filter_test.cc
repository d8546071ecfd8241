// The filter language: what it takes, what it means, and what it says when it does not understand.
#include "state_machine/filter.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

const absl::Time kNow =
    absl::FromCivil(absl::CivilSecond(2026, 3, 1, 12, 0, 0), absl::UTCTimeZone());

// One session that every test asks about.
v1::Session Example() {
  v1::Session session;
  session.set_session_id("0192f3c4-9f2e-7abc-8def-0123456789ab");
  session.set_workflow("ticket_export");
  session.set_workflow_revision(3);
  session.set_owner_id("u1");
  session.set_owner_display_name("Ada \"the first\"");
  session.set_state(v1::Session::PAUSED);
  session.set_stage("upload");
  session.set_status("active");
  session.set_has_blocking_errors(true);
  *session.mutable_fail_time() = ToProto(kNow - absl::Hours(1));
  *session.mutable_create_time() = ToProto(kNow - absl::Hours(48));
  *session.mutable_update_time() = ToProto(kNow - absl::Hours(1) + absl::Microseconds(5));
  *session.mutable_recover_before_time() = ToProto(kNow + absl::Hours(1));
  auto& context = *session.mutable_context()->mutable_fields();
  context["site"].set_string_value("north");
  context["size"].set_number_value(5);
  context["draft"].set_bool_value(true);
  context["none"].set_null_value(google::protobuf::NULL_VALUE);
  context["list"].mutable_list_value()->add_values()->set_string_value("north");
  (*session.mutable_counters())["tickets"] = 7;
  (*session.mutable_references())["job_posting"] = "j1";
  (*session.mutable_labels())["team"] = "a";
  (*session.mutable_labels())["a.b-c"] = "dotted";
  (*session.mutable_labels())["star"] = "a*";
  return session;
}

// The tree as text, with brackets around everything that is joined.
std::string Shape(const Filter& filter) {
  std::vector<std::string> parts;
  for (const Filter& child : filter.children) parts.push_back(Shape(child));
  switch (filter.kind) {
    case Filter::Kind::kAnd:
      return absl::StrCat("[", absl::StrJoin(parts, " & "), "]");
    case Filter::Kind::kOr:
      return absl::StrCat("[", absl::StrJoin(parts, " | "), "]");
    case Filter::Kind::kNot:
      return absl::StrCat("!", parts.front());
    case Filter::Kind::kRestriction:
      return std::get<std::string>(filter.restriction.value);
  }
  return "";
}

TEST(Filter, OrBindsTighterThanAndAndWordsSideBySideMeanAnd) {
  struct Row {
    const char* filter;
    const char* shape;
  };
  // Each letter stands for the restriction `stage = letter`.
  constexpr Row kRows[] = {
      {"a", "a"},
      {"(a)", "a"},
      {"((a))", "a"},
      {"a AND b", "[a & b]"},
      {"a b", "[a & b]"},
      {"a OR b", "[a | b]"},
      {"a AND b OR c", "[a & [b | c]]"},
      {"a OR b AND c", "[[a | b] & c]"},
      {"a b OR c", "[a & [b | c]]"},
      {"a OR b c OR d", "[[a | b] & [c | d]]"},
      {"(a AND b) OR c", "[[a & b] | c]"},
      {"a AND b AND c", "[a & b & c]"},
      {"NOT a", "!a"},
      {"-a", "!a"},
      {"NOT(a)", "!a"},
      {"-(a b)", "![a & b]"},
      {"NOT a OR b", "[!a | b]"},
      {"NOT a AND -b", "[!a & !b]"},
      {"\n(a\tOR\r\nb )AND(c)", "[[a | b] & c]"},
  };
  for (const Row& row : kRows) {
    std::string text;
    for (const char* c = row.filter; *c != '\0'; ++c) {
      if (*c >= 'a' && *c <= 'z') {
        absl::StrAppend(&text, "stage = ", std::string(1, *c));
      } else {
        text.push_back(*c);
      }
    }
    const auto filter = ParseFilter(text);
    ASSERT_TRUE(filter.ok()) << text << ": " << filter.status();
    EXPECT_EQ(Shape(*filter), row.shape) << text;
  }
}

TEST(Filter, EveryFieldComparesAsItsTypeDoes) {
  struct Row {
    const char* filter;
    bool matches;
  };
  constexpr Row kRows[] = {
      {"", true},
      {" \n ", true},
      {"session_id = \"0192f3c4-9f2e-7abc-8def-0123456789ab\"", true},
      {"session_id = 0192f3c4-9f2e-7abc-8def-0123456789ab", true},
      {"session_id != x", true},
      {"session_id = \"' OR 1=1--\"", false},
      {"workflow = ticket_export", true},
      {"workflow != ticket_export", false},
      {"workflow_revision = 3", true},
      {"workflow_revision != 3", false},
      {"workflow_revision < 3", false},
      {"workflow_revision <= 3", true},
      {"workflow_revision > 2", true},
      {"workflow_revision >= 4", false},
      {"workflow_revision > -9223372036854775808", true},
      {"owner_id = u1", true},
      {"owner_id = 'u1'", true},
      {"owner_id=\"u1\"", true},
      {"owner_id = U1", false},
      {"owner_id = u*", false},
      {"owner_id = \"*\"", false},
      {"owner_id != u2", true},
      {"owner_id = \"\"", false},
      {"owner_display_name = \"Ada \\\"the first\\\"\"", true},
      {"owner_display_name = 'Ada \"the first\"'", true},
      {"state = PAUSED", true},
      {"state = \"PAUSED\"", true},
      {"state = ACTIVE", false},
      {"state != ACTIVE", true},
      {"stage = upload", true},
      {"status != failed", true},
      {"failed = true", true},
      {"failed = false", false},
      {"failed != true", false},
      {"completed = false", true},
      {"completed != false", false},
      {"recoverable = true", true},
      {"recoverable != false", true},
      {"hold = true", false},
      {"hold != true", true},
      {"has_blocking_errors = true", true},
      {"has_blocking_errors != true", false},
      {"create_time = \"2026-02-27T12:00:00Z\"", true},
      {"create_time = 2026-02-27T12:00:00Z", true},
      {"create_time = 2026-02-27T14:00:00+02:00", true},
      {"create_time > 2026-02-27T11:59:59.999999Z", true},
      {"create_time > 2026-02-27T12:00:00.000000999Z", false},
      {"create_time < 2026-02-27T12:00:00.000001Z", true},
      {"create_time >= 0001-01-01T00:00:00Z", true},
      {"create_time <= 9999-12-31T23:59:59.999999999Z", true},
      {"update_time = 2026-03-01T11:00:00.000005Z", true},
      {"fail_time >= 2026-03-01T11:00:00Z", true},
      {"fail_time:*", true},
      {"complete_time:*", false},
      {"NOT complete_time:*", true},
      {"complete_time < 9999-01-01T00:00:00Z", false},
      {"complete_time != 2026-01-01T00:00:00Z", false},
      {"NOT complete_time < 9999-01-01T00:00:00Z", true},
      {"delete_time > 0001-01-01T00:00:00Z", false},
      {"context.site = north", true},
      {"context.site = \"north\"", true},
      {"context.site != south", true},
      {"context.site < o", true},
      {"context.site >= northern", false},
      {"context.size = 5", true},
      {"context.size = 5.0", true},
      {"context.size = 5e0", true},
      {"context.size = \"5\"", false},
      {"context.size != \"5\"", true},
      {"context.size < \"9\"", false},
      {"context.size > -0.5", true},
      {"context.size > 1e308", false},
      {"context.draft = true", true},
      {"context.draft = \"true\"", false},
      {"context.draft > false", true},
      {"context.none:*", true},
      {"context.none = null", false},
      {"context.none != null", true},
      {"context.list = north", false},
      {"context.list != north", true},
      {"context.list >= north", false},
      {"context.absent != x", false},
      {"NOT context.absent = x", true},
      {"context:site", true},
      {"context:absent", false},
      {"counters.tickets = 7", true},
      {"counters.tickets != 7", false},
      {"counters.tickets >= 7", true},
      {"counters.tickets < 7", false},
      {"counters.absent >= 0", false},
      {"counters:tickets", true},
      {"references.job_posting = j1", true},
      {"references:job_posting", true},
      {"references.other = j1", false},
      {"labels.team = a", true},
      {"labels.team = \"a\"", true},
      {"labels.\"team\" = a", true},
      {"labels.'team':*", true},
      {"labels.team:a", true},
      {"labels.team:b", false},
      {"labels.team:\"*\"", false},
      {"labels.star = a*", true},
      {"labels.team != b", true},
      {"labels.none != b", false},
      {"NOT labels.none = b", true},
      {"labels:team", true},
      {"labels:\"team\"", true},
      {"labels:none", false},
      {"-labels:none", true},
      {"labels.a.b-c = dotted", true},
      {"labels:a.b-c", true},
  };
  const v1::Session session = Example();
  for (const Row& row : kRows) {
    const auto filter = ParseFilter(row.filter);
    ASSERT_TRUE(filter.ok()) << row.filter << ": " << filter.status();
    EXPECT_EQ(Matches(*filter, session, kNow), row.matches) << row.filter;
  }
}

// Every field by every comparator, asked for the table the header promises.
TEST(Filter, AFieldTakesTheComparatorsOfItsTypeAndNoOthers) {
  struct Row {
    const char* field;
    const char* value;
    std::vector<std::string> comparators;
    FilterResource resource = FilterResource::kSessions;
  };
  const std::vector<std::string> equalities = {"=", "!="};
  const std::vector<std::string> orders = {"=", "!=", "<", "<=", ">", ">="};
  const std::vector<std::string> all = {"=", "!=", "<", "<=", ">", ">=", ":"};
  const char* const time = "2026-01-01T00:00:00Z";
  const std::vector<Row> rows = {
      {"session_id", "x", equalities},
      {"workflow", "x", equalities},
      {"workflow_revision", "1", orders},
      {"owner_id", "x", equalities},
      {"owner_display_name", "x", equalities},
      {"state", "ACTIVE", equalities},
      {"stage", "x", equalities},
      {"status", "x", equalities},
      {"failed", "true", equalities},
      {"completed", "true", equalities},
      {"recoverable", "true", equalities},
      {"hold", "true", equalities},
      {"has_blocking_errors", "true", equalities},
      {"create_time", time, orders},
      {"update_time", time, orders},
      {"complete_time", time, all},
      {"delete_time", time, all},
      {"fail_time", time, all},
      {"context.key", "x", all},
      {"counters.key", "1", all},
      {"references.key", "x", {"=", "!=", ":"}},
      {"labels.key", "x", {"=", "!=", ":"}},
      {"session_id", "x", equalities, FilterResource::kTasks},
      {"task_id", "x", equalities, FilterResource::kTasks},
      {"task_type", "x", equalities, FilterResource::kTasks},
      {"status", "RUNNING", equalities, FilterResource::kTasks},
      {"retryable", "true", equalities, FilterResource::kTasks},
      {"retry_count", "1", orders, FilterResource::kTasks},
      {"start_time", time, orders, FilterResource::kTasks},
      {"error_id", "x", equalities, FilterResource::kErrors},
      {"category", "TEMPORARY", equalities, FilterResource::kErrors},
      {"severity", "BLOCKING", equalities, FilterResource::kErrors},
      {"operation_stage", "x", equalities, FilterResource::kErrors},
      {"related_file_id", "x", equalities, FilterResource::kErrors},
      {"related_ticket_id", "x", equalities, FilterResource::kErrors},
      {"error_code", "x", equalities, FilterResource::kErrors},
      {"resolved", "true", equalities, FilterResource::kErrors},
      {"create_time", time, orders, FilterResource::kErrors},
      {"resolve_time", time, all, FilterResource::kErrors},
  };
  for (const Row& row : rows) {
    for (const std::string& comparator : all) {
      const std::string text = absl::StrCat(row.field, comparator, row.value);
      const auto filter = ParseFilter(text, row.resource);
      const bool allowed =
          std::count(row.comparators.begin(), row.comparators.end(), comparator) > 0;
      EXPECT_EQ(filter.ok(), allowed) << text << ": " << filter.status();
      if (!allowed) {
        EXPECT_NE(filter.status().message().find("it takes =, !="), std::string::npos) << text;
      }
    }
  }
}

TEST(Filter, AnOrderIsShownWithoutWhatATerminalObeys) {
  const absl::Status refused = ParseOrder("\u009b2J").status();
  EXPECT_NE(refused.message().find("`\\xc2\\x9b2J` is not one of"), std::string::npos) << refused;
}

struct Refused {
  std::string text;
  int position;
  // Part of the sentence.
  std::string says;
};

void ExpectRefused(const absl::Status& status, const Refused& row) {
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FILTER) << row.text << ": " << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.text;
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("position"), absl::StrCat(row.position))
      << row.text << ": " << status;
  EXPECT_NE(status.message().find(row.says), std::string::npos) << row.text << ": " << status;
}

TEST(Filter, WhatIsNotUnderstoodIsRefusedWithItsPositionAndWhatWasExpected) {
  const std::vector<Refused> rows = {
      {"foo = 1", 0, "`foo` is not a field; the fields are session_id, "},
      {"stage = a AND foo = 1", 14, "`foo` is not a field"},
      {"stage = a and status = b", 10, "write AND for `and`"},
      {"Stage = a", 0, "`Stage` is not a field"},
      {"stage", 5, "expected a comparator (=, !=) after `stage`, found the end"},
      {"stage upload", 6, "expected a comparator (=, !=) after `stage`, found `upload`"},
      {"stage = ", 8, "expected a text, found the end"},
      {"stage = AND status = b", 8, "expected a text, found `AND`"},
      {"stage = (a OR b)", 8, "expected a text, found `(`"},
      {"stage == a", 7, "expected a text, found `=`"},
      {"= a", 0, "expected a field's name, found `=`"},
      {"AND stage = a", 0, "expected a field's name, found `AND`"},
      {"stage = a AND", 13, "expected a field's name, found the end"},
      {"stage = a OR OR status = b", 13, "expected a field's name, found `OR`"},
      {"NOT NOT stage = a", 4, "expected a field's name, found `NOT`"},
      {"(stage = a", 10, "expected AND, OR or `)`, found the end"},
      {"stage = a)", 9, "expected AND, OR or the end, found `)`"},
      {"()", 1, "expected a field's name, found `)`"},
      {"stage = a, status = b", 9, "expected a field's name, found `,`"},
      {"\"stage\" = a", 0, "expected a field's name, found `\"`"},
      {"stage = \"a", 8, "the quote \" is never closed"},
      {"stage = 'a\"", 8, "the quote ' is never closed"},
      {"stage = \"a\\n\"", 10, "a backslash stands only before a quote"},
      {"stage = \"a\\", 10, "a backslash stands only before a quote"},
      {"stage = \"a\nb\"", 10, "control characters"},
      {std::string("stage = \"a\0b\"", 13), 10, "control characters"},
      {std::string("\0", 1), 0, "control characters"},
      {"stage = a\x7f", 9, "control characters"},
      {"stage = a\u009b", 9, "control characters"},
      {"stage = \"\u0085\"", 9, "control characters"},
      {"stage = \"\xff\"", 9, "not UTF-8"},
      {"stage = \"\xc0\xaf\"", 9, "not UTF-8"},
      {"stage = \"\xed\xa0\x80\"", 9, "not UTF-8"},
      {"stage = \"\xf4\x90\x80\x80\"", 9, "not UTF-8"},
      {"stage = \"\xe2\x82", 9, "not UTF-8"},
      {"stage.name = a", 5, "`stage` has no fields of its own"},
      {"stage < a", 6, "`stage` cannot be compared by <; it takes =, !="},
      {"stage:a", 5, "`stage` cannot be compared by :"},
      {"state = active", 8, "CREATING, ACTIVE, PAUSED, STOPPED or DELETED, not with `active`"},
      {"state = STATE_UNSPECIFIED", 8, "not with `STATE_UNSPECIFIED`"},
      {"state = 2", 8, "not with `2`"},
      {"hold = yes", 7, "`hold` is compared with true or false, not with `yes`"},
      {"hold", 4, "expected a comparator"},
      {"workflow_revision = 1.5", 20, "a whole number, not with `1.5`"},
      {"workflow_revision = 9223372036854775808", 20, "a whole number"},
      {"workflow_revision = ''", 20, "a whole number"},
      {"counters.n = x", 13, "a whole number"},
      {"create_time = now", 14, "a time like"},
      {"create_time = 2026-01-01", 14, "a time like"},
      {"create_time = 2026-01-01T00:00:00", 14, "a time like"},
      {"create_time = '2026-01-01 00:00:00Z'", 14, "a time like"},
      {"create_time = ' 2026-01-01T00:00:00Z'", 14, "a time like"},
      {"create_time = 2026-02-30T00:00:00Z", 14, "a time like"},
      {"create_time = 2026-01-01T25:00:00Z", 14, "a time like"},
      {"create_time = 2026-01-01T00:00:00.Z", 14, "a time like"},
      {"create_time = 2026-01-01T00:00:00.1234567890Z", 14, "a time like"},
      {"create_time = 0000-12-31T23:59:59Z", 14, "a time like"},
      {"create_time = 0001-01-01T00:00:00+00:01", 14, "a time like"},
      {"create_time = 9999-12-31T23:59:59-00:01", 14, "a time like"},
      {"create_time = 10000-01-01T00:00:00Z", 14, "a time like"},
      {"create_time = infinite-future", 14, "a time like"},
      {"create_time:*", 11, "`create_time` cannot be compared by :"},
      {"complete_time:x", 14, "a time like"},
      {"labels = a", 6, "`labels` needs a key"},
      {"labels. = a", 7, "expected a key of `labels`, found ` `"},
      {"labels.\"\" = a", 7, "expected a key of `labels`, found an empty text"},
      {"labels:*", 7, "expected a key of `labels`, found `*`"},
      {"labels:", 7, "expected a key of `labels`, found the end"},
      {"labels.team:", 12, "expected `*`, found the end"},
      {"labels.team < a", 12, "cannot be compared by <"},
      {"size(labels) = 1", 0, "`size` is not a field"},
      {"- = a", 2, "expected a field's name"},
  };
  for (const Refused& row : rows) ExpectRefused(ParseFilter(row.text).status(), row);
}

TEST(Filter, WhatOnlyLooksLikeAQuoteOrASpaceIsRefusedAndNotSearchedFor) {
  const std::vector<Refused> rows = {
      {"owner_id = “u1”", 11, "“ does not quote; write \""},
      {"owner_id = ‘u1’", 11, "‘ does not quote; write \""},
      {"owner_id = „u1“", 11, "„ does not quote; write \""},
      {"owner_id = «u 1»", 11, "« does not quote; write \""},
      {"owner_id = `u1`", 11, "` does not quote; write \""},
      {"owner_id = ＂u1＂", 11, "＂ does not quote; write \""},
      {"owner_id = u1”", 13, "” does not quote; write \""},
      {"owner_id = \"u1”", 11, "the quote \" is never closed; ” does not, write \""},
      {"owner_id = 'u1’", 11, "the quote ' is never closed; ’ does not, write '"},
      {"labels.“a b” = c", 7, "“ does not quote"},
      {"labels:“team”", 7, "“ does not quote"},
      {"context.site_name = “x”", 20, "“ does not quote"},
      {"“owner_id” = u1", 0, "“ does not quote"},
      {"owner_id = \u00a0u1", 11, "a space, or from nothing, \\xc2\\xa0; take it out"},
      {"owner_id\u00a0= u1", 8, "\\xc2\\xa0"},
      {"owner_id = u1\u200b", 13, "\\xe2\\x80\\x8b"},
      {"owner_id = a\u2066b", 12, "\\xe2\\x81\\xa6"},
      {"\ufeffowner_id = u1", 0, "\\xef\\xbb\\xbf"},
      {"labels.te\u00adam = a", 9, "\\xc2\\xad"},
  };
  for (const Refused& row : rows) ExpectRefused(ParseFilter(row.text).status(), row);
  // Whoever means them writes quotes; and within a word an apostrophe is seen.
  for (const char* text : {"owner_id = \"“u1”\"", "owner_id = '\u00a0u1'", "owner_id = O’Brien",
                           "labels.'\u200b' = a", "owner_id = 山田"}) {
    EXPECT_TRUE(ParseFilter(text).ok()) << text << ParseFilter(text).status();
  }
}

TEST(Filter, EveryResourceHasFieldsOfItsOwn) {
  struct Row {
    FilterResource resource;
    Refused refused;
  };
  const FilterResource tasks = FilterResource::kTasks, errors = FilterResource::kErrors;
  const std::vector<Row> rows = {
      {tasks,
       {"owner_id = u1", 0,
        "`owner_id` is not a field; the fields are session_id, task_id, task_type, status, "
        "retryable, retry_count, start_time"}},
      {tasks, {"retryable = true AND severity = INFO", 21, "`severity` is not a field"}},
      {tasks, {"status = running", 9, "RUNNING, COMPLETED, FAILED or CANCELLED, not with"}},
      {tasks, {"status = ACTIVE", 9, "not with `ACTIVE`"}},
      {tasks, {"status = STATUS_UNSPECIFIED", 9, "not with `STATUS_UNSPECIFIED`"}},
      {tasks, {"status = 1", 9, "not with `1`"}},
      {tasks, {"retry_count = x", 14, "a whole number"}},
      {tasks, {"task_type < a", 10, "it takes =, !="}},
      {errors,
       {"stage = upload", 0,
        "`stage` is not a field; the fields are error_id, category, severity, operation_stage, "
        "related_file_id, related_ticket_id, error_code, resolved, create_time, resolve_time"}},
      {errors, {"session_id = x", 0, "`session_id` is not a field"}},
      {errors, {"category = BLOCKING", 11, "USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY, not"}},
      {errors, {"severity = FATAL", 11, "BLOCKING, WARNING or INFO, not with `FATAL`"}},
      {errors, {"severity = SEVERITY_UNSPECIFIED", 11, "not with `SEVERITY_UNSPECIFIED`"}},
      {errors, {"create_time:*", 11, "`create_time` cannot be compared by :"}},
      {FilterResource::kSessions, {"task_id = x", 0, "`task_id` is not a field"}},
      {FilterResource::kSessions, {"resolved = true", 0, "`resolved` is not a field"}},
  };
  for (const Row& row : rows)
    ExpectRefused(ParseFilter(row.refused.text, row.resource).status(), row.refused);

  const auto filter = ParseFilter("status = \"FAILED\"", tasks);
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_EQ(filter->restriction.field, FilterField::kTaskStatus);
  EXPECT_EQ(std::get<int64_t>(filter->restriction.value), v1::SessionTask::FAILED);
}

TEST(Filter, ItsSizeItsRestrictionsAndItsDepthAreLimited) {
  const auto repeated = [](const std::string& what, int times, const std::string& between) {
    return absl::StrJoin(std::vector<std::string>(times, what), between);
  };
  EXPECT_TRUE(ParseFilter(repeated("hold=true", 64, " ")).ok());
  ExpectRefused(ParseFilter(repeated("hold=true", 65, " ")).status(),
                {"65 restrictions", 640, "there may be 64 comparisons"});

  const auto nested = [](int depth) {
    return absl::StrCat(std::string(depth, '('), "hold=true", std::string(depth, ')'));
  };
  EXPECT_TRUE(ParseFilter(nested(16)).ok());
  ExpectRefused(ParseFilter(nested(17)).status(), {"17 deep", 16, "parentheses may be 16 deep"});
  EXPECT_FALSE(ParseFilter(std::string(4096, '(')).ok());

  const std::string longest = absl::StrCat("stage=\"", std::string(4088, 'a'), "\"");
  ASSERT_EQ(longest.size(), 4096u);
  EXPECT_TRUE(ParseFilter(longest).ok());
  ExpectRefused(ParseFilter(longest + " ").status(),
                {"4097 bytes", 4096, "it is 4097 bytes long, and may be 4096"});
}

TEST(Filter, ASentenceShowsWhatItRefusesEscapedAndCut) {
  const auto status =
      ParseFilter(absl::StrCat(std::string(39, 'a'), "ü", std::string(500, 'b'))).status();
  EXPECT_NE(status.message().find(absl::StrCat("`", std::string(39, 'a'), "…` is not a field")),
            std::string::npos)
      << status;
}

TEST(Filter, RecoverableEndsWithItsWindowItsStateAndItsCompletion) {
  v1::Session session = Example();
  EXPECT_TRUE(IsRecoverable(session, kNow));
  EXPECT_FALSE(IsRecoverable(session, kNow + absl::Hours(1)));
  session.set_state(v1::Session::ACTIVE);
  EXPECT_TRUE(IsRecoverable(session, kNow));
  *session.mutable_complete_time() = ToProto(kNow);
  EXPECT_FALSE(IsRecoverable(session, kNow));
  session = Example();
  session.clear_recover_before_time();
  EXPECT_FALSE(IsRecoverable(session, kNow));
  for (const auto state : {v1::Session::CREATING, v1::Session::STOPPED, v1::Session::DELETED}) {
    session = Example();
    session.set_state(state);
    EXPECT_FALSE(IsRecoverable(session, kNow)) << state;
  }
}

// Pieces of the language in any order, and bytes thrown in: parsing answers, and what it takes can
// be matched.
TEST(Filter, NothingThatIsThrownAtItBreaksIt) {
  const std::vector<std::string> pieces = {"stage",
                                           "labels",
                                           "context.",
                                           "create_time",
                                           "hold",
                                           "counters.n",
                                           "state",
                                           ".",
                                           ":",
                                           "=",
                                           "!=",
                                           "<",
                                           ">=",
                                           "(",
                                           ")",
                                           "\"",
                                           "'",
                                           "\\",
                                           "-",
                                           "*",
                                           ",",
                                           " ",
                                           " AND ",
                                           " OR ",
                                           " NOT ",
                                           "true",
                                           "ACTIVE",
                                           "5",
                                           "1e400",
                                           "u1",
                                           "\"a\"",
                                           "2026-01-01T00:00:00Z",
                                           "'x y'",
                                           "stage=a",
                                           "labels:team",
                                           "hold=true",
                                           "ü",
                                           "\xff",
                                           std::string(1, '\0'),
                                           "\n"};
  std::mt19937 random(20260301);
  const v1::Session session = Example();
  int understood = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string text;
    for (int length = static_cast<int>(random() % 12); length >= 0; --length) {
      text += pieces[random() % pieces.size()];
    }
    if (!text.empty() && random() % 8 == 0)
      text[random() % text.size()] = static_cast<char>(random() % 256);
    const auto filter = ParseFilter(text);
    if (filter.ok()) {
      ++understood;
      Matches(*filter, session, kNow);
    } else {
      ASSERT_EQ(ReasonOf(filter.status()), v1::INVALID_FILTER) << text;
      const int position = std::stoi(ErrorInfoOf(filter.status()).metadata().at("position"));
      ASSERT_LE(position, static_cast<int>(text.size())) << text;
    }
  }
  EXPECT_GT(understood, 2000) << "the pieces no longer make filters";
}

TEST(Order, OneFieldAndADirectionIsAll) {
  struct Row {
    const char* text;
    OrderField field;
    bool descending;
  };
  constexpr Row kRows[] = {
      {"", OrderField::kCreateTime, true},
      {"  ", OrderField::kCreateTime, true},
      {"create_time", OrderField::kCreateTime, false},
      {"create_time asc", OrderField::kCreateTime, false},
      {"create_time desc", OrderField::kCreateTime, true},
      {"owner_id", OrderField::kOwnerId, false},
      {" owner_id  desc ", OrderField::kOwnerId, true},
      {"status asc", OrderField::kStatus, false},
      {"state desc", OrderField::kState, true},
  };
  for (const Row& row : kRows) {
    const auto order = ParseOrder(row.text);
    ASSERT_TRUE(order.ok()) << row.text << ": " << order.status();
    EXPECT_EQ(order->field, row.field) << row.text;
    EXPECT_EQ(order->descending, row.descending) << row.text;
  }
  const std::vector<Refused> refused = {
      {"update_time", 0, "`update_time` is not one of create_time, owner_id, status, state"},
      {"create_time DESC", 12, "`DESC` is not asc or desc"},
      {"create_time,state", 0, "is not one of"},
      {"state desc, status", 6, "`desc,` is not asc or desc"},
      {"state desc status", 11, "`status` is too much"},
      {"create_time; DROP TABLE sessions", 0, "`create_time;` is not one of"},
      {std::string("state\0", 6), 0, "is not one of"},
  };
  for (const Refused& row : refused) ExpectRefused(ParseOrder(row.text).status(), row);
}

TEST(Order, OfMessagesIsTheirSequence) {
  for (const char* text : {"", " ", "sequence", "sequence asc"}) {
    const auto descending = ParseMessageOrder(text);
    ASSERT_TRUE(descending.ok()) << text << ": " << descending.status();
    EXPECT_FALSE(*descending) << text;
  }
  EXPECT_EQ(*ParseMessageOrder("sequence desc"), true);
  const std::vector<Refused> refused = {
      {"create_time", 0, "`create_time` is not sequence"},
      {"sequence down", 9, "`down` is not asc or desc"},
      {"sequence desc create_time", 14, "`create_time` is too much"},
  };
  for (const Refused& row : refused) ExpectRefused(ParseMessageOrder(row.text).status(), row);
}

}  // namespace
}  // namespace sessiond
