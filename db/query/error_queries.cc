#include "db/query/error_queries.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/filter_sql.h"
#include "db/rows/error_rows.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

// How often a pattern must have happened to be one, and how many are told.
constexpr int kPatternErrorsMin = 2;
constexpr int kPatternsMax = 100;

constexpr std::array<absl::string_view, 2> kKeys = {"x.created_at", "x.error_id"};

// Which errors, where `s` is their session if they are not of one alone.
std::string Where(const ErrorSelection& selection, Parameters* parameters) {
  const std::string filter =
      FilterSql(selection.filter, FilterResource::kErrors, selection.partition_count, parameters);
  if (!selection.session_id.empty()) {
    return absl::StrCat(
        OfSessionSql("x", selection.session_id, selection.partition_count, parameters), " AND ",
        filter);
  }
  return absl::StrCat(NamespaceSql(selection.namespace_name, parameters),
                      selection.include_deleted ? "" : " AND s.state <> 5", " AND ", filter);
}

Sql ErrorPageSql(absl::string_view from, std::string where, int page_size, std::size_t bytes_max,
                 Parameters parameters) {
  return PageSql({.alias = "x",
                  .from = from,
                  .where = std::move(where),
                  .keys = {kKeys.begin(), kKeys.end()},
                  .descending = true,
                  .columns = kErrorColumns,
                  .bytes = "octet_length(x.user_message) + octet_length(x.recovery_actions::text)"
                           " + octet_length(x.technical_details::text)"
                           " + octet_length(x.resolution)",
                  .bytes_max = bytes_max},
                 page_size, std::move(parameters));
}

// For totals, where every error is met: a join, not a look-up for each.
constexpr absl::string_view kErrorsAndSessions =
    "session_errors x JOIN sessions s ON s.partition = x.partition AND s.id = x.session_id";

Sql CountsSql(const ErrorSelection& selection) {
  Parameters parameters;
  std::string text = absl::StrCat(
      "SELECT x.category, x.severity, count(*), count(*) FILTER (WHERE x.resolved_at IS NULL)\n",
      "FROM ", kErrorsAndSessions, "\nWHERE ", Where(selection, &parameters),
      "\nGROUP BY 1, 2 ORDER BY 1, 2");
  return {std::move(text), parameters.Take()};
}

// Patterns of sessions that are there, and of those that are not any more.
Sql PatternsSql(const ErrorSelection& selection) {
  Parameters parameters;
  std::string live = absl::StrCat(
      "SELECT s.workflow, x.operation_stage, x.category, x.error_code, count(*) AS errors,\n"
      "         count(DISTINCT x.session_id) AS sessions\n",
      "  FROM ", kErrorsAndSessions, "\n  WHERE ", Where(selection, &parameters),
      "\n  GROUP BY 1, 2, 3, 4");
  // Without a filter: an AND of nothing.
  const bool unfiltered =
      selection.filter.kind == Filter::Kind::kAnd && selection.filter.children.empty();
  if (selection.session_id.empty() && unfiltered) {
    absl::StrAppend(
        &live,
        "\n  UNION ALL\n"
        "  SELECT s.workflow, s.operation_stage, s.category, s.error_code, s.errors, 0\n"
        "  FROM error_patterns s\n  WHERE ",
        NamespaceSql(selection.namespace_name, &parameters));
  }
  std::string text = absl::StrCat(
      "SELECT workflow, operation_stage, category, error_code, sum(errors)::bigint,\n"
      "       sum(sessions)::bigint\nFROM (\n  ",
      live, "\n) pattern\nGROUP BY 1, 2, 3, 4 HAVING sum(errors) >= ", kPatternErrorsMin,
      "\nORDER BY 5 DESC, 1, 2, 3, 4 LIMIT ", kPatternsMax);
  return {std::move(text), parameters.Take()};
}

}  // namespace

Sql ListErrorsSql(const ErrorSelection& selection, const std::optional<TimeKey>& after,
                  int page_size) {
  Parameters parameters;
  std::string where = Where(selection, &parameters);
  if (after.has_value()) {
    const std::string key[] = {parameters.Time(after->time), parameters.Text(after->id)};
    absl::StrAppend(&where, " AND ", BehindSql(kKeys, true, key));
  }
  const std::string from =
      absl::StrCat("session_errors x ", selection.session_id.empty() ? SessionOfSql("x") : "");
  return ErrorPageSql(from, std::move(where), page_size, kPageBytesMax, std::move(parameters));
}

bool ReadErrorPage(const Result& result, int page_size, v1::ListErrorsResponse* response) {
  return ReadPage(result, page_size, response->mutable_errors(),
                  [&](int row, v1::SessionError* error) { ReadError(result, row, 1, error); });
}

TimeKey KeyOf(const v1::SessionError& last) {
  return {.time = FromProto(last.create_time()), .id = last.error_id()};
}

Sql GetErrorSql(absl::string_view session_id, int partition_count, absl::string_view error_id) {
  Parameters parameters;
  std::string text = absl::StrCat("SELECT ", kErrorColumns, "\nFROM session_errors x\nWHERE ",
                                  OfSessionSql("x", session_id, partition_count, &parameters),
                                  " AND x.error_id = ", parameters.Text(error_id));
  return {std::move(text), parameters.Take()};
}

Sql NewestOpenErrorsSql(absl::string_view session_id, int partition_count) {
  Parameters parameters;
  std::string where = absl::StrCat(OfSessionSql("x", session_id, partition_count, &parameters),
                                   " AND x.resolved_at IS NULL");
  return ErrorPageSql("session_errors x", std::move(where), kViewRowsMax, kViewBytesMax,
                      std::move(parameters));
}

void ReadNewestOpenErrors(const Result& result,
                          google::protobuf::RepeatedPtrField<v1::SessionError>* errors) {
  ReadPage(
      result, kViewRowsMax, errors,
      [&](int row, v1::SessionError* error) { ReadError(result, row, 1, error); }, kViewBytesMax);
}

std::vector<Sql> SummarizeErrorsSql(const ErrorSelection& selection) {
  return {CountsSql(selection), PatternsSql(selection)};
}

void ReadErrorSummary(absl::Span<const Result> results, v1::SummarizeErrorsResponse* response) {
  int64_t total = 0, open_total = 0;
  const Result& counts = results[0];
  for (int row = 0; row < counts.rows(); ++row) {
    auto* count = response->add_counts();
    count->set_category(static_cast<v1::SessionError::Category>(counts.Int2(row, 0)));
    count->set_severity(static_cast<v1::SessionError::Severity>(counts.Int2(row, 1)));
    count->set_count(Saturated(counts.Int8(row, 2)));
    count->set_open_count(Saturated(counts.Int8(row, 3)));
    total += counts.Int8(row, 2);
    open_total += counts.Int8(row, 3);
  }
  response->set_total(Saturated(total));
  response->set_open_total(Saturated(open_total));

  const Result& patterns = results[1];
  for (int row = 0; row < patterns.rows(); ++row) {
    auto* pattern = response->add_patterns();
    pattern->set_workflow(std::string(patterns.Text(row, 0)));
    pattern->set_operation_stage(std::string(patterns.Text(row, 1)));
    pattern->set_category(static_cast<v1::SessionError::Category>(patterns.Int2(row, 2)));
    pattern->set_error_code(std::string(patterns.Text(row, 3)));
    pattern->set_count(Saturated(patterns.Int8(row, 4)));
    pattern->set_session_count(Saturated(patterns.Int8(row, 5)));
  }
}

}  // namespace sessiond::db
