#include "db/session_queries.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "db/event_rows.h"
#include "db/session_rows.h"
#include "server/state_machine/limits.h"
#include "server/state_machine/session_id.h"
#include "server/state_machine/struct_json.h"
#include "server/state_machine/timestamps.h"

namespace sessiond::db {
namespace {

// The SQL of each field, in the order of FilterField.
// clang-format off
constexpr absl::string_view kColumns[] = {
    "s.id", "s.workflow", "s.workflow_revision", "s.owner_id", "s.owner_display_name",
    "s.state", "s.stage", "s.status",
    "s.failed_at IS NOT NULL", "s.completed_at IS NOT NULL",
    "s.state IN (2, 3) AND s.completed_at IS NULL AND COALESCE(s.recover_before_at > now(), false)",
    "s.hold",
    "s.created_at", "s.updated_at", "s.completed_at", "s.deleted_at", "s.failed_at",
    "s.context", "s.counters", "s.refs", "s.labels",
};
// clang-format on
static_assert(std::size(kColumns) == static_cast<std::size_t>(FilterField::kLabels) + 1);
static_assert(v1::Session::ACTIVE == 2 && v1::Session::PAUSED == 3 && v1::Session::DELETED == 5);

absl::string_view OperatorOf(Comparator comparator) {
  switch (comparator) {
    case Comparator::kEqual:
      return "=";
    case Comparator::kNotEqual:
      return "<>";
    case Comparator::kLess:
      return "<";
    case Comparator::kLessOrEqual:
      return "<=";
    case Comparator::kGreater:
      return ">";
    case Comparator::kGreaterOrEqual:
      return ">=";
    case Comparator::kPresent:
      break;
  }
  return "";
}

// As PostgreSQL reads it whatever its DateStyle is.
std::string TimeText(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone());
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

// Collects parameters; each method answers with the placeholder of what it took.
class Parameters {
 public:
  std::string Text(absl::string_view value) { return Add(std::string(value), "text"); }
  std::string Integer(int64_t value) { return Add(absl::StrCat(value), "bigint"); }
  std::string SmallInteger(int64_t value) { return Add(absl::StrCat(value), "smallint"); }
  std::string Time(absl::Time value) { return Add(TimeText(value), "timestamptz"); }
  std::string Json(std::string value) { return Add(std::move(value), "jsonb"); }
  std::vector<std::optional<std::string>> Take() { return std::move(values_); }

  std::string Add(std::string value, absl::string_view type) {
    values_.push_back(std::move(value));
    return absl::StrCat("$", values_.size(), "::", type);
  }

 private:
  std::vector<std::optional<std::string>> values_;
};

// ---- Filters

// Compiles a filter into a condition that is never NULL, so that NOT means what it says.
class FilterCompiler {
 public:
  FilterCompiler(int partition_count, Parameters* parameters)
      : partition_count_(partition_count), parameters_(*parameters) {}

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
    const absl::string_view column = kColumns[static_cast<std::size_t>(restriction.field)];
    switch (restriction.field) {
      case FilterField::kSessionId:
        return SessionId(restriction);
      case FilterField::kWorkflow:
      case FilterField::kOwnerId:
      case FilterField::kOwnerDisplayName:
      case FilterField::kStage:
      case FilterField::kStatus:
        return Compared(column, restriction,
                        parameters_.Text(std::get<std::string>(restriction.value)));
      case FilterField::kWorkflowRevision:
        return Compared(column, restriction,
                        parameters_.Integer(std::get<int64_t>(restriction.value)));
      case FilterField::kState:
        return Compared(column, restriction,
                        parameters_.SmallInteger(std::get<int64_t>(restriction.value)));
      case FilterField::kFailed:
      case FilterField::kCompleted:
      case FilterField::kRecoverable:
      case FilterField::kHold:
        return Truth(column, restriction);
      case FilterField::kCreateTime:
      case FilterField::kUpdateTime:
      case FilterField::kCompleteTime:
      case FilterField::kDeleteTime:
      case FilterField::kFailTime:
        return Moment(column, restriction);
      case FilterField::kContext:
      case FilterField::kCounters:
      case FilterField::kReferences:
      case FilterField::kLabels:
        return Entry(column, restriction);
    }
    return "false";
  }

  static std::string Compared(absl::string_view column, const Restriction& restriction,
                              absl::string_view value) {
    return absl::StrCat(column, " ", OperatorOf(restriction.comparator), " ", value);
  }

  // An id's partition follows from it: together they are the primary key.
  std::string SessionId(const Restriction& restriction) {
    const std::string& id = std::get<std::string>(restriction.value);
    const std::string compared = Compared("s.id", restriction, parameters_.Text(id));
    if (restriction.comparator != Comparator::kEqual) return compared;
    return absl::StrCat(
        "s.partition = ", parameters_.SmallInteger(PartitionOf(id, partition_count_)), " AND ",
        compared);
  }

  static std::string Truth(absl::string_view condition, const Restriction& restriction) {
    const bool wanted =
        std::get<bool>(restriction.value) == (restriction.comparator == Comparator::kEqual);
    return absl::StrCat(wanted ? "(" : "NOT (", condition, ")");
  }

  std::string Moment(absl::string_view column, const Restriction& restriction) {
    if (restriction.comparator == Comparator::kPresent) return absl::StrCat(column, " IS NOT NULL");
    const std::string compared =
        Compared(column, restriction, parameters_.Time(std::get<absl::Time>(restriction.value)));
    const bool never_null = restriction.field == FilterField::kCreateTime ||
                            restriction.field == FilterField::kUpdateTime;
    return never_null ? compared : absl::StrCat("COALESCE(", compared, ", false)");
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
    const absl::string_view op = OperatorOf(restriction.comparator);
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

  const int partition_count_;
  Parameters& parameters_;
};

std::string Where(const SessionSelection& selection, Parameters* parameters) {
  std::vector<std::string> conditions;
  if (selection.namespace_name != "-") {
    conditions.push_back(
        absl::StrCat("s.namespace = ", parameters->Text(selection.namespace_name)));
  }
  conditions.push_back(
      FilterCompiler(selection.partition_count, parameters).Compile(selection.filter));
  return absl::StrJoin(conditions, " AND ");
}

// ---- Pages

struct PageParts {
  absl::string_view alias;
  absl::string_view table;
  absl::string_view columns;
  // What a row adds to the reply; only what may be large is counted.
  absl::string_view bytes;
  std::string where;
  std::string order;
};

// ROWS BETWEEN … 1 PRECEDING: what lies before a row, so that the row which crosses the limit still
// comes, and with it the word that there are more.
Sql PageSql(const PageParts& parts, int page_size, Parameters parameters) {
  assert(page_size >= 1);
  const absl::string_view a = parts.alias;
  const std::string limit = parameters.Integer(int64_t{page_size} + 1);
  const std::string bytes_max = parameters.Integer(kPageBytesMax);
  std::string text = absl::StrCat(
      "SELECT ", a, ".has_next, ", parts.columns, " FROM (\n", "  SELECT ", a,
      ".*, lead(true) OVER page IS NOT NULL AS has_next,\n", "         COALESCE(sum(", parts.bytes,
      ") OVER (page ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)", " AS bytes_before\n",
      "  FROM (SELECT * FROM ", parts.table, " ", a, " WHERE ", parts.where, "\n",
      "        ORDER BY ", parts.order, " LIMIT ", limit, ") ", a, "\n",
      "  WINDOW page AS (ORDER BY ", parts.order, ")\n", ") ", a, " WHERE ", a, ".bytes_before < ",
      bytes_max, " ORDER BY ", parts.order);
  return {std::move(text), parameters.Take()};
}

// Takes rows while they fit, their own columns behind has_next; `read` fills one element. True:
// there are more.
template <class Elements, class Read>
bool ReadPage(const Result& result, int page_size, Elements* elements, Read read) {
  std::size_t bytes = 0;
  const int rows = std::min(result.rows(), page_size);
  for (int row = 0; row < rows; ++row) {
    auto* element = elements->Add();
    read(row, element);
    bytes += element->ByteSizeLong();
    if (row > 0 && bytes > kPageBytesMax) {
      elements->RemoveLast();
      return true;
    }
  }
  return rows > 0 && result.Bool(rows - 1, 0);
}

// ---- Orders

// The column that leads the order; empty for create_time, which leads by itself.
absl::string_view LeadingColumn(OrderField field) {
  switch (field) {
    case OrderField::kCreateTime:
      return "";
    case OrderField::kOwnerId:
      return "s.owner_id";
    case OrderField::kStatus:
      return "s.status";
    case OrderField::kState:
      return "s.state";
  }
  return "";
}

std::string OrderBy(const Order& order) {
  const absl::string_view direction = order.descending ? " DESC" : "";
  const absl::string_view leading = LeadingColumn(order.field);
  return absl::StrCat(leading, leading.empty() ? "" : absl::StrCat(direction, ", "), "s.created_at",
                      direction, ", s.id", direction);
}

// Rows compare column by column, as indexes do: one step into the index.
std::string Behind(const SessionPageKey& key, const Order& order, Parameters* parameters) {
  const absl::string_view leading = LeadingColumn(order.field);
  std::vector<std::string> columns, values;
  if (!leading.empty()) {
    columns.emplace_back(leading);
    values.push_back(
        parameters->Add(key.value, order.field == OrderField::kState ? "smallint" : "text"));
  }
  columns.insert(columns.end(), {"s.created_at", "s.id"});
  values.push_back(parameters->Time(key.create_time));
  values.push_back(parameters->Text(key.session_id));
  return absl::StrCat("(", absl::StrJoin(columns, ", "), order.descending ? ") < (" : ") > (",
                      absl::StrJoin(values, ", "), ")");
}

absl::string_view GroupExpression(v1::CountSessionsRequest::GroupBy group_by) {
  switch (group_by) {
    case v1::CountSessionsRequest::WORKFLOW:
      return "s.workflow";
    case v1::CountSessionsRequest::STATE:
      return "(ARRAY['CREATING', 'ACTIVE', 'PAUSED', 'STOPPED', 'DELETED'])[s.state]";
    case v1::CountSessionsRequest::STAGE:
      return "s.stage";
    case v1::CountSessionsRequest::STATUS:
      return "s.status";
    case v1::CountSessionsRequest::OWNER_ID:
      return "s.owner_id";
    default:
      return "";
  }
}

int32_t Saturated(int64_t count) {
  return static_cast<int32_t>(std::min<int64_t>(count, std::numeric_limits<int32_t>::max()));
}

}  // namespace

std::vector<std::string> PageKeyValues(const Order& order, const v1::Session& last) {
  std::vector<std::string> values;
  if (order.field == OrderField::kOwnerId) values.push_back(last.owner_id());
  if (order.field == OrderField::kStatus) values.push_back(last.status());
  if (order.field == OrderField::kState)
    values.push_back(absl::StrCat(static_cast<int>(last.state())));
  values.push_back(absl::StrCat(absl::ToUnixMicros(FromProto(last.create_time()))));
  values.push_back(last.session_id());
  return values;
}

std::optional<SessionPageKey> ParsePageKey(const Order& order,
                                           const std::vector<std::string>& values) {
  const std::size_t leading = order.field == OrderField::kCreateTime ? 0 : 1;
  int64_t micros = 0;
  if (values.size() != leading + 2 || !absl::SimpleAtoi(values[leading], &micros))
    return std::nullopt;
  int state = 0;
  if (order.field == OrderField::kState &&
      !(absl::SimpleAtoi(values[0], &state) && v1::Session::State_IsValid(state))) {
    return std::nullopt;
  }
  return SessionPageKey{.value = leading == 1 ? values[0] : "",
                        .create_time = absl::FromUnixMicros(micros),
                        .session_id = values[leading + 1]};
}

Sql ListSessionsSql(const SessionSelection& selection, const Order& order,
                    const std::optional<SessionPageKey>& after, int page_size) {
  Parameters parameters;
  std::string where = Where(selection, &parameters);
  // Not a list of states: that would tempt the planner to collect them by their index, and then to
  // sort.
  if (!selection.include_deleted) absl::StrAppend(&where, " AND s.state <> 5");
  if (after.has_value()) absl::StrAppend(&where, " AND ", Behind(*after, order, &parameters));
  return PageSql({.alias = "s",
                  .table = "sessions",
                  .columns = kSessionColumns,
                  .bytes = "octet_length(s.context::text) + octet_length(s.labels::text) + "
                           "octet_length(s.refs::text)"
                           " + octet_length(s.fail_reason)",
                  .where = std::move(where),
                  .order = OrderBy(order)},
                 page_size, std::move(parameters));
}

Sql CountSessionsSql(const SessionSelection& selection,
                     v1::CountSessionsRequest::GroupBy group_by) {
  Parameters parameters;
  // A list of states, which sessions_by_state answers: where most sessions are deleted ones, they
  // are never touched.
  const absl::string_view states = selection.include_deleted ? "1, 2, 3, 4, 5" : "1, 2, 3, 4";
  const std::string from = absl::StrCat("FROM sessions s WHERE s.state IN (", states, ") AND ",
                                        Where(selection, &parameters));
  const absl::string_view group = GroupExpression(group_by);
  std::string text =
      group.empty() ? absl::StrCat("SELECT NULL::text, count(*), count(*)\n", from)
                    : absl::StrCat("SELECT ", group,
                                   " COLLATE \"C\", count(*), (sum(count(*)) OVER ())::bigint\n",
                                   from, "\nGROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000");
  return {std::move(text), parameters.Take()};
}

Sql ListSessionEventsSql(absl::string_view session_id, int partition_count, int32_t after_sequence,
                         int page_size) {
  Parameters parameters;
  std::string where = absl::StrCat(
      "e.partition = ", parameters.SmallInteger(PartitionOf(session_id, partition_count)),
      " AND e.session_id = ", parameters.Text(session_id), " AND e.sequence > ",
      parameters.Add(absl::StrCat(after_sequence), "integer"));
  return PageSql({.alias = "e",
                  .table = "session_events",
                  .columns = kEventColumns,
                  .bytes = "octet_length(e.changes::text) + octet_length(e.reason)",
                  .where = std::move(where),
                  .order = "e.sequence"},
                 page_size, std::move(parameters));
}

bool ReadSessionPage(const Result& result, int page_size, v1::ListSessionsResponse* response) {
  return ReadPage(result, page_size, response->mutable_sessions(),
                  [&](int row, v1::Session* session) { ReadSession(result, row, 1, session); });
}

void ReadCounts(const Result& result, v1::CountSessionsResponse* response) {
  for (int row = 0; row < result.rows(); ++row) {
    response->set_total(Saturated(result.Int8(row, 2)));
    if (result.IsNull(row, 0)) return;
    auto* group = response->add_groups();
    group->set_value(std::string(result.Text(row, 0)));
    group->set_count(Saturated(result.Int8(row, 1)));
  }
}

bool ReadEventPage(const Result& result, int page_size, v1::ListSessionEventsResponse* response) {
  return ReadPage(result, page_size, response->mutable_events(),
                  [&](int row, v1::SessionEvent* event) { ReadEvent(result, row, 1, event); });
}

}  // namespace sessiond::db
