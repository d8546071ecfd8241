#include "db/query/error_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/filter_sql.h"
#include "db/rows/resource_rows.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

// How often an error must occur to be a pattern, and how many patterns are returned.
constexpr int kPatternErrorsMin = 2;
constexpr int kPatternsMax = 100;

// The condition that selects errors; `s` is their session if there may be several.
std::string Where(const ErrorSelection& selection, int partition_count, TextParams* parameters) {
  const std::string filter =
      FilterSql(selection.filter, FilterResource::kErrors, partition_count, parameters);
  if (!selection.session_id.empty()) {
    return absl::StrCat(OfSessionSql("x", selection.session_id, partition_count, parameters),
                        " AND ", filter);
  }
  return absl::StrCat(InScopeSql(selection.namespace_name, selection.scope, parameters),
                      selection.include_deleted ? "" : " AND s.state <> 5", " AND ", filter);
}

PageParts Parts(absl::string_view from, std::string where) {
  return {.alias = "x",
          .from = from,
          .where = std::move(where),
          .keys = {{"x.created_at", "timestamptz"}, {"x.error_id", "text"}},
          .descending = true,
          .columns = kErrorColumns,
          .bytes =
              "octet_length(x.user_message) + octet_length(x.recovery_actions::text)"
              " + octet_length(x.technical_details::text) + octet_length(x.resolution)"};
}

// For totals, which read every error: a join, not a look-up for each.
constexpr absl::string_view kErrorsAndSessions =
    "session_errors x JOIN sessions s ON s.partition = x.partition AND s.id = x.session_id";

Sql CountsSql(const ErrorSelection& selection, int partition_count) {
  TextParams parameters;
  std::string text = absl::StrCat(
      "SELECT x.category, x.severity, count(*), count(*) FILTER (WHERE x.resolved_at IS NULL)\n",
      "FROM ", kErrorsAndSessions, "\nWHERE ", Where(selection, partition_count, &parameters),
      "\nGROUP BY 1, 2 ORDER BY 1, 2");
  return {std::move(text), parameters.Take()};
}

// Patterns of existing sessions, and of archived ones.
Sql PatternsSql(const ErrorSelection& selection, int partition_count) {
  TextParams parameters;
  std::string live = absl::StrCat(
      "SELECT s.workflow, x.operation_stage, x.category, x.error_code, count(*) AS errors,\n"
      "         count(DISTINCT x.session_id) AS sessions\n",
      "  FROM ", kErrorsAndSessions, "\n  WHERE ", Where(selection, partition_count, &parameters),
      "\n  GROUP BY 1, 2, 3, 4");
  // Without a filter: an AND of nothing.
  const bool unfiltered =
      selection.filter.kind == Filter::Kind::kAnd && selection.filter.children.empty();
  // What is left of archived sessions has no owner.
  const bool of_all_owners = !selection.scope.owner_id().has_value();
  if (selection.session_id.empty() && unfiltered && of_all_owners) {
    absl::StrAppend(
        &live,
        "\n  UNION ALL\n"
        "  SELECT s.workflow, s.operation_stage, s.category, s.error_code, s.errors, 0\n"
        "  FROM error_patterns s\n  WHERE ",
        InScopeSql(selection.namespace_name, selection.scope, &parameters));
  }
  std::string text = absl::StrCat(
      "SELECT workflow, operation_stage, category, error_code, sum(errors)::bigint,\n"
      "       sum(sessions)::bigint\nFROM (\n  ",
      live, "\n) pattern\nGROUP BY 1, 2, 3, 4 HAVING sum(errors) >= ", kPatternErrorsMin,
      "\nORDER BY 5 DESC, 1, 2, 3, 4 LIMIT ", kPatternsMax);
  return {std::move(text), parameters.Take()};
}

v1::SummarizeErrorsResponse ReadSummary(absl::Span<const Result> results) {
  v1::SummarizeErrorsResponse summary;
  int64_t total = 0, open_total = 0;
  const Result& counts = results[0];
  for (int row = 0; row < counts.rows(); ++row) {
    auto* count = summary.add_counts();
    count->set_category(static_cast<v1::SessionError::Category>(counts.Int2(row, 0)));
    count->set_severity(static_cast<v1::SessionError::Severity>(counts.Int2(row, 1)));
    count->set_count(Saturated(counts.Int8(row, 2)));
    count->set_open_count(Saturated(counts.Int8(row, 3)));
    total += counts.Int8(row, 2);
    open_total += counts.Int8(row, 3);
  }
  summary.set_total(Saturated(total));
  summary.set_open_total(Saturated(open_total));

  const Result& patterns = results[1];
  for (int row = 0; row < patterns.rows(); ++row) {
    auto* pattern = summary.add_patterns();
    pattern->set_workflow(std::string(patterns.Text(row, 0)));
    pattern->set_operation_stage(std::string(patterns.Text(row, 1)));
    pattern->set_category(static_cast<v1::SessionError::Category>(patterns.Int2(row, 2)));
    pattern->set_error_code(std::string(patterns.Text(row, 3)));
    pattern->set_count(Saturated(patterns.Int8(row, 4)));
    pattern->set_session_count(Saturated(patterns.Int8(row, 5)));
  }
  return summary;
}

}  // namespace

ListQuestion<v1::SessionError> ListPage(const ErrorSelection& selection, int partition_count,
                                        const KeyValues& after, int page_size) {
  TextParams parameters;
  const std::string from =
      absl::StrCat("session_errors x ", selection.session_id.empty() ? SessionOfSql("x") : "");
  const PageParts parts = Parts(from, Where(selection, partition_count, &parameters));
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadError);
}

Question<std::optional<v1::SessionError>> ErrorById(absl::string_view session_id,
                                                    int partition_count,
                                                    absl::string_view error_id) {
  const std::string partition = absl::StrCat(PartitionOf(session_id, partition_count));
  return {
      .statements = {{kFindError.sql, {partition, std::string(session_id), std::string(error_id)}}},
      .read = [](absl::Span<const Result> results) {
        std::optional<v1::SessionError> error;
        if (results.front().rows() > 0) ReadError(results.front(), 0, 0, &error.emplace());
        return error;
      }};
}

Question<Page<v1::SessionError>> NewestOpenErrors(absl::string_view session_id,
                                                  int partition_count) {
  TextParams parameters;
  PageParts parts = Parts("session_errors x",
                          absl::StrCat(OfSessionSql("x", session_id, partition_count, &parameters),
                                       " AND x.resolved_at IS NULL"));
  parts.bytes_max = kViewBytesMax;
  return *PageQuestion(parts, {}, kViewRowsMax, std::move(parameters), ReadError);
}

Question<v1::SummarizeErrorsResponse> ErrorSummary(const ErrorSelection& selection,
                                                   int partition_count) {
  return {.statements = {CountsSql(selection, partition_count),
                         PatternsSql(selection, partition_count)},
          .read = ReadSummary};
}

}  // namespace sessiond::db
