#include "db/query/filter_sql.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"

namespace sessiond::db {
namespace {

// How a field is compared.
enum class Kind {
  kSessionId,  // Its partition follows from it: together they lead the primary keys.
  kText,
  kInteger,
  kSmallInteger,
  kTruth,  // A condition.
  kTime,
  kOptionalTime,
  kMap,
};

struct Column {
  FilterField field;
  Kind kind;
  absl::string_view sql;
};

// clang-format off
constexpr Column kSessionFields[] = {
    {FilterField::kSessionId,         Kind::kSessionId,    "s.id"},
    {FilterField::kWorkflow,          Kind::kText,         "s.workflow"},
    {FilterField::kWorkflowRevision,  Kind::kInteger,      "s.workflow_revision"},
    {FilterField::kOwnerId,           Kind::kText,         "s.owner_id"},
    {FilterField::kOwnerDisplayName,  Kind::kText,         "s.owner_display_name"},
    {FilterField::kState,             Kind::kSmallInteger, "s.state"},
    {FilterField::kStage,             Kind::kText,         "s.stage"},
    {FilterField::kStatus,            Kind::kText,         "s.status"},
    {FilterField::kFailed,            Kind::kTruth,        "s.failed_at IS NOT NULL"},
    {FilterField::kCompleted,         Kind::kTruth,        "s.completed_at IS NOT NULL"},
    {FilterField::kRecoverable,       Kind::kTruth,        kRecoverableSql},
    {FilterField::kHold,              Kind::kTruth,        "s.hold"},
    {FilterField::kHasBlockingErrors, Kind::kTruth,        "s.blocking_errors > 0"},
    {FilterField::kCreateTime,        Kind::kTime,         "s.created_at"},
    {FilterField::kUpdateTime,        Kind::kTime,         "s.updated_at"},
    {FilterField::kCompleteTime,      Kind::kOptionalTime, "s.completed_at"},
    {FilterField::kDeleteTime,        Kind::kOptionalTime, "s.deleted_at"},
    {FilterField::kFailTime,          Kind::kOptionalTime, "s.failed_at"},
    {FilterField::kContext,           Kind::kMap,          "s.context"},
    {FilterField::kCounters,          Kind::kMap,          "s.counters"},
    {FilterField::kReferences,        Kind::kMap,          "s.refs"},
    {FilterField::kLabels,            Kind::kMap,          "s.labels"},
};

constexpr Column kTaskFields[] = {
    {FilterField::kSessionId,  Kind::kSessionId,    "t.session_id"},
    {FilterField::kTaskId,     Kind::kText,         "t.task_id"},
    {FilterField::kTaskType,   Kind::kText,         "t.task_type"},
    {FilterField::kTaskStatus, Kind::kSmallInteger, "t.status"},
    {FilterField::kRetryable,  Kind::kTruth,        "t.status = 3 AND t.retry_count < t.max_retries"},
    {FilterField::kRetryCount, Kind::kInteger,      "t.retry_count"},
    {FilterField::kStartTime,  Kind::kTime,         "t.started_at"},
};

constexpr Column kErrorFields[] = {
    {FilterField::kErrorId,         Kind::kText,         "x.error_id"},
    {FilterField::kCategory,        Kind::kSmallInteger, "x.category"},
    {FilterField::kSeverity,        Kind::kSmallInteger, "x.severity"},
    {FilterField::kOperationStage,  Kind::kText,         "x.operation_stage"},
    {FilterField::kRelatedFileId,   Kind::kText,         "x.related_file_id"},
    {FilterField::kRelatedTicketId, Kind::kText,         "x.related_ticket_id"},
    {FilterField::kErrorCode,       Kind::kText,         "x.error_code"},
    {FilterField::kResolved,        Kind::kTruth,        "x.resolved_at IS NOT NULL"},
    {FilterField::kCreateTime,      Kind::kTime,         "x.created_at"},
    {FilterField::kResolveTime,     Kind::kOptionalTime, "x.resolved_at"},
};
// clang-format on
static_assert(v1::SessionTask::FAILED == 3);

// By FilterResource.
constexpr absl::Span<const Column> kColumns[] = {kSessionFields, kTaskFields, kErrorFields};
static_assert(std::size(kColumns) == static_cast<std::size_t>(FilterResource::kErrors) + 1);

// By Comparator; `:` is asked in other ways.
constexpr absl::string_view kOperators[] = {"=", "<>", "<", "<=", ">", ">=", ""};
static_assert(std::size(kOperators) == static_cast<std::size_t>(Comparator::kPresent) + 1);

absl::string_view OperatorOf(const Restriction& restriction) {
  return kOperators[static_cast<std::size_t>(restriction.comparator)];
}

Value JsonValue(const FilterValue& value) {
  if (const auto* truth = std::get_if<bool>(&value)) return BoolValue(*truth);
  if (const auto* integer = std::get_if<int64_t>(&value))
    return NumberValue(static_cast<double>(*integer));
  if (const auto* number = std::get_if<double>(&value)) return NumberValue(*number);
  return StringValue(std::get<std::string>(value));
}

// {"key": value}
std::string JsonEntry(const std::string& key, const FilterValue& value) {
  Struct entry;
  (*entry.mutable_fields())[key] = JsonValue(value);
  return ToJson(entry);
}

class FilterCompiler {
 public:
  FilterCompiler(FilterResource resource, int partition_count, TextParams* parameters)
      : resource_(resource), partition_count_(partition_count), parameters_(*parameters) {}

  std::string Compile(const Filter& filter) {
    switch (filter.kind) {
      case Filter::Kind::kAnd:
        return filter.children.empty() ? "true" : Join(filter, " AND ");
      case Filter::Kind::kOr:
        return Join(filter, " OR ");
      case Filter::Kind::kNot:
        return absl::StrCat("NOT ", Compile(filter.children.front()));
      case Filter::Kind::kRestriction:
        return absl::StrCat("(", Compile(filter.restriction), ")");
    }
    return "false";
  }

 private:
  std::string Join(const Filter& filter, absl::string_view separator) {
    std::vector<std::string> parts;
    for (const Filter& child : filter.children) parts.push_back(Compile(child));
    return absl::StrCat("(", absl::StrJoin(parts, separator), ")");
  }

  std::string Compile(const Restriction& restriction) {
    const absl::Span<const Column> columns = kColumns[static_cast<std::size_t>(resource_)];
    const auto column = std::find_if(columns.begin(), columns.end(), [&](const Column& row) {
      return row.field == restriction.field;
    });
    assert(column != columns.end());
    const auto integer = [&] { return std::get<int64_t>(restriction.value); };
    switch (column->kind) {
      case Kind::kSessionId:
        return SessionId(column->sql, restriction);
      case Kind::kText:
        return Compared(column->sql, restriction,
                        parameters_.Text(std::get<std::string>(restriction.value)));
      case Kind::kInteger:
        return Compared(column->sql, restriction, parameters_.Integer(integer()));
      case Kind::kSmallInteger:
        return Compared(column->sql, restriction, parameters_.SmallInteger(integer()));
      case Kind::kTruth:
        return Truth(column->sql, restriction);
      case Kind::kTime:
        return Moment(column->sql, restriction);
      case Kind::kOptionalTime:
        return OptionalMoment(column->sql, restriction);
      case Kind::kMap:
        return Entry(column->sql, restriction);
    }
    return "false";
  }

  static std::string Compared(absl::string_view column, const Restriction& restriction,
                              absl::string_view value) {
    return absl::StrCat(column, " ", OperatorOf(restriction), " ", value);
  }

  std::string SessionId(absl::string_view column, const Restriction& restriction) {
    const std::string& id = std::get<std::string>(restriction.value);
    const std::string compared = Compared(column, restriction, parameters_.Text(id));
    if (restriction.comparator != Comparator::kEqual) return compared;
    return absl::StrCat(column.substr(0, column.find('.')), ".partition = ",
                        parameters_.SmallInteger(PartitionOf(id, partition_count_)), " AND ",
                        compared);
  }

  static std::string Truth(absl::string_view condition, const Restriction& restriction) {
    const bool wanted =
        std::get<bool>(restriction.value) == (restriction.comparator == Comparator::kEqual);
    return absl::StrCat(wanted ? "(" : "NOT (", condition, ")");
  }

  std::string Moment(absl::string_view column, const Restriction& restriction) {
    return Compared(column, restriction, parameters_.Time(std::get<absl::Time>(restriction.value)));
  }

  std::string OptionalMoment(absl::string_view column, const Restriction& restriction) {
    if (restriction.comparator == Comparator::kPresent) return absl::StrCat(column, " IS NOT NULL");
    return absl::StrCat("COALESCE(", Moment(column, restriction), ", false)");
  }

  // Equality is containment, which the GIN indexes of labels and refs answer. The others need the
  // key itself.
  std::string Entry(absl::string_view column, const Restriction& restriction) {
    const auto has_key = [&] {
      return absl::StrCat(column, " ? ", parameters_.Text(restriction.key));
    };
    const auto has_entry = [&] {
      return absl::StrCat(column, " @> ",
                          parameters_.Json(JsonEntry(restriction.key, restriction.value)));
    };
    switch (restriction.comparator) {
      case Comparator::kPresent:
        return has_key();
      case Comparator::kEqual:
        return has_entry();
      case Comparator::kNotEqual:
        return absl::StrCat(has_key(), " AND NOT ", has_entry());
      default:
        return OrderedEntry(column, restriction);
    }
  }

  // jsonb orders values of different types too, and texts by the database's collation; filters do
  // neither.
  std::string OrderedEntry(absl::string_view column, const Restriction& restriction) {
    const std::string key = parameters_.Text(restriction.key);
    const absl::string_view op = OperatorOf(restriction);
    if (const auto* text = std::get_if<std::string>(&restriction.value)) {
      return absl::StrCat("COALESCE(jsonb_typeof(", column, " -> ", key, ") = 'string' AND (",
                          column, " ->> ", key, ") COLLATE \"C\" ", op, " ",
                          parameters_.Text(*text), ", false)");
    }
    const absl::string_view type =
        std::holds_alternative<bool>(restriction.value) ? "boolean" : "number";
    const std::string entry = parameters_.Json(JsonEntry(restriction.key, restriction.value));
    return absl::StrCat("COALESCE(jsonb_typeof(", column, " -> ", key, ") = '", type, "' AND (",
                        column, " -> ", key, ") ", op, " (", entry, " -> ", key, "), false)");
  }

  const FilterResource resource_;
  const int partition_count_;
  TextParams& parameters_;
};

}  // namespace

std::string FilterSql(const Filter& filter, FilterResource resource, int partition_count,
                      TextParams* parameters) {
  return FilterCompiler(resource, partition_count, parameters).Compile(filter);
}

}  // namespace sessiond::db
