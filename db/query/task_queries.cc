#include "db/query/task_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/filter_sql.h"
#include "db/rows/task_rows.h"

namespace sessiond::db {

ListQuestion<v1::SessionTask> ListPage(const TaskSelection& selection, int partition_count,
                                       const KeyValues& after, int page_size) {
  Parameters parameters;
  const std::string from = absl::StrCat("session_tasks t ", SessionOfSql("t"));
  PageParts parts{.alias = "t",
                  .from = from,
                  .keys = {{"t.started_at", "timestamptz"}, {"t.session_id", "text"}},
                  .descending = true,
                  .columns = kTaskColumns,
                  .bytes =
                      "COALESCE(octet_length(t.progress::text), 0)"
                      " + COALESCE(octet_length(t.result::text), 0)"
                      " + COALESCE(octet_length(t.failure_context::text), 0)"};
  parts.where = absl::StrCat(
      "s.state <> 5 AND ", InScopeSql(selection.namespace_name, selection.scope, &parameters),
      " AND ", FilterSql(selection.filter, FilterResource::kTasks, partition_count, &parameters));
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadTask);
}

}  // namespace sessiond::db
