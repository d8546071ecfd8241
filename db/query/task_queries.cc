#include "db/query/task_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/filter_sql.h"
#include "db/rows/task_rows.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

Sql ListTasksSql(const TaskSelection& selection, const std::optional<TimeKey>& after,
                 int page_size) {
  Parameters parameters;
  PageParts parts{.alias = "t",
                  .keys = {"t.started_at", "t.session_id"},
                  .descending = true,
                  .columns = kTaskColumns,
                  .bytes =
                      "COALESCE(octet_length(t.progress::text), 0)"
                      " + COALESCE(octet_length(t.result::text), 0)"
                      " + COALESCE(octet_length(t.failure_context::text), 0)"};
  const std::string from = absl::StrCat("session_tasks t ", SessionOfSql("t"));
  parts.from = from;
  parts.where = absl::StrCat(
      "s.state <> 5 AND ", NamespaceSql(selection.namespace_name, &parameters), " AND ",
      FilterSql(selection.filter, FilterResource::kTasks, selection.partition_count, &parameters));
  if (after.has_value()) {
    const std::string key[] = {parameters.Time(after->time), parameters.Text(after->id)};
    absl::StrAppend(&parts.where, " AND ", BehindSql(parts.keys, parts.descending, key));
  }
  return PageSql(parts, page_size, std::move(parameters));
}

bool ReadTaskPage(const Result& result, int page_size, v1::ListTasksResponse* response) {
  return ReadPage(result, page_size, response->mutable_tasks(),
                  [&](int row, v1::SessionTask* task) { ReadTask(result, row, 1, task); });
}

TimeKey KeyOf(const v1::SessionTask& last) {
  return {.time = FromProto(last.start_time()), .id = last.session_id()};
}

}  // namespace sessiond::db
