// Filters and orders of lists. The first byte is the resource. What is understood is printed, and
// has to be understood as the same.
#include "state_machine/filter.h"

#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "db/query/filter_sql.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/task.pb.h"
#include "state_machine/refusal.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;

// clang-format off
constexpr std::pair<FilterField, absl::string_view> kNames[] = {
    {FilterField::kSessionId,         "session_id"},
    {FilterField::kWorkflow,          "workflow"},
    {FilterField::kWorkflowRevision,  "workflow_revision"},
    {FilterField::kOwnerId,           "owner_id"},
    {FilterField::kOwnerDisplayName,  "owner_display_name"},
    {FilterField::kState,             "state"},
    {FilterField::kStage,             "stage"},
    {FilterField::kStatus,            "status"},
    {FilterField::kFailed,            "failed"},
    {FilterField::kCompleted,         "completed"},
    {FilterField::kRecoverable,       "recoverable"},
    {FilterField::kHold,              "hold"},
    {FilterField::kHasBlockingErrors, "has_blocking_errors"},
    {FilterField::kCreateTime,        "create_time"},
    {FilterField::kUpdateTime,        "update_time"},
    {FilterField::kCompleteTime,      "complete_time"},
    {FilterField::kDeleteTime,        "delete_time"},
    {FilterField::kFailTime,          "fail_time"},
    {FilterField::kContext,           "context"},
    {FilterField::kCounters,          "counters"},
    {FilterField::kReferences,        "references"},
    {FilterField::kLabels,            "labels"},
    {FilterField::kTaskId,            "task_id"},
    {FilterField::kTaskType,          "task_type"},
    {FilterField::kTaskStatus,        "status"},
    {FilterField::kRetryable,         "retryable"},
    {FilterField::kRetryCount,        "retry_count"},
    {FilterField::kStartTime,         "start_time"},
    {FilterField::kErrorId,           "error_id"},
    {FilterField::kCategory,          "category"},
    {FilterField::kSeverity,          "severity"},
    {FilterField::kOperationStage,    "operation_stage"},
    {FilterField::kRelatedFileId,     "related_file_id"},
    {FilterField::kRelatedTicketId,   "related_ticket_id"},
    {FilterField::kErrorCode,         "error_code"},
    {FilterField::kResolved,          "resolved"},
    {FilterField::kResolveTime,       "resolve_time"},
};
// clang-format on

absl::string_view NameOf(FilterField field) {
  for (const auto& [known, name] : kNames) {
    if (known == field) return name;
  }
  fuzz::Fail("Every field has a name here.", absl::StrCat(static_cast<int>(field)));
}

absl::string_view SignOf(Comparator comparator) {
  constexpr absl::string_view kSigns[] = {"=", "!=", "<", "<=", ">", ">=", ":"};
  return kSigns[static_cast<int>(comparator)];
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

std::string Print(FilterField field, int64_t number) {
  const int value = static_cast<int>(number);
  switch (field) {
    case FilterField::kState:
      return v1::Session::State_Name(value);
    case FilterField::kTaskStatus:
      return v1::SessionTask::Status_Name(value);
    case FilterField::kCategory:
      return v1::SessionError::Category_Name(value);
    case FilterField::kSeverity:
      return v1::SessionError::Severity_Name(value);
    default:
      return absl::StrCat(number);
  }
}

std::string Print(const Restriction& restriction) {
  std::string text(NameOf(restriction.field));
  if (!restriction.key.empty()) absl::StrAppend(&text, ".", Quoted(restriction.key));
  absl::StrAppend(&text, " ", SignOf(restriction.comparator), " ");
  struct Printer {
    FilterField field;
    std::string operator()(std::monostate) const { return "*"; }
    std::string operator()(bool truth) const { return truth ? "true" : "false"; }
    std::string operator()(int64_t number) const { return Print(field, number); }
    std::string operator()(double number) const { return absl::StrFormat("%.17g", number); }
    std::string operator()(const std::string& value) const { return Quoted(value); }
    std::string operator()(absl::Time time) const {
      return Quoted(absl::FormatTime("%E4Y-%m-%dT%H:%M:%E*SZ", time, absl::UTCTimeZone()));
    }
  };
  return text + std::visit(Printer{restriction.field}, restriction.value);
}

// With parentheses where the text must have had some.
std::string Print(const Filter& filter, bool top = true) {
  if (filter.kind == Filter::Kind::kRestriction) return Print(filter.restriction);
  std::vector<std::string> parts;
  for (const Filter& child : filter.children) {
    const bool loose = filter.kind == Filter::Kind::kAnd && child.kind == Filter::Kind::kOr;
    const bool bare = loose || child.kind == Filter::Kind::kRestriction ||
                      (child.kind == Filter::Kind::kNot && filter.kind != Filter::Kind::kNot);
    parts.push_back(bare ? Print(child, false) : absl::StrCat("(", Print(child, false), ")"));
  }
  if (filter.kind == Filter::Kind::kNot) return absl::StrCat("NOT ", parts.front());
  if (parts.empty()) Expect(top, "Only a whole filter is empty.");
  return absl::StrJoin(parts, filter.kind == Filter::Kind::kAnd ? " AND " : " OR ");
}

void CheckPosition(const absl::Status& refused, absl::string_view text) {
  fuzz::ExpectRefusal(refused);
  const google::rpc::ErrorInfo info = ErrorInfoOf(refused);
  std::size_t position = 0;
  Expect(absl::SimpleAtoi(info.metadata().at("position"), &position) && position <= text.size(),
         "A refused filter says where.", refused.message());
}

v1::Session Example() {
  v1::Session session;
  session.set_owner_id("u1");
  session.set_state(v1::Session::ACTIVE);
  session.mutable_create_time()->set_seconds(1'800'000'000);
  (*session.mutable_context()->mutable_fields())["n"].set_number_value(5);
  (*session.mutable_context()->mutable_fields())["t"].set_bool_value(true);
  (*session.mutable_labels())["team"] = "a";
  (*session.mutable_counters())["n"] = 7;
  return session;
}

}  // namespace

FUZZ_INPUT(input) {
  static const v1::Session& example = *new v1::Session(Example());
  const auto resource = static_cast<FilterResource>(input.Byte() % 3);
  const absl::string_view text = input.Rest();
  if (const auto order = ParseOrder(text); !order.ok()) CheckPosition(order.status(), text);
  if (const auto order = ParseMessageOrder(text); !order.ok()) CheckPosition(order.status(), text);
  const auto filter = ParseFilter(text, resource);
  if (!filter.ok()) return CheckPosition(filter.status(), text);
  db::TextParams parameters;
  Expect(!db::FilterSql(*filter, resource, 64, &parameters).empty(), "A filter is a condition.");
  if (resource == FilterResource::kSessions)
    Matches(*filter, example, absl::FromUnixSeconds(1'800'000'100));
  const std::string printed = Print(*filter);
  if (printed.size() > kFilterBytesMax) return;
  const auto again = ParseFilter(printed, resource);
  Expect(again.ok(), "What is printed is a filter.", printed);
  Expect(Print(*again) == printed, "It is the same filter.", printed);
}

}  // namespace sessiond
