// Lists of tasks over all sessions. How pages work is told in page_sql.h.
#pragma once

#include <optional>
#include <string>

#include "db/query/page_sql.h"
#include "sessiond/v1/task_service.pb.h"
#include "state_machine/filter.h"

namespace sessiond::db {

struct TaskSelection {
  // `-`: all.
  std::string namespace_name = "default";
  // Parsed for kTasks.
  Filter filter;
  // Of the database.
  int partition_count = 1;
};

// One page of tasks of sessions that are not deleted, the newest started first; read it with
// ReadTaskPage.
Sql ListTasksSql(const TaskSelection& selection, const std::optional<TimeKey>& after,
                 int page_size);

// True: there are more.
bool ReadTaskPage(const Result& result, int page_size, v1::ListTasksResponse* response);

// Where a page that ends with this task ended.
TimeKey KeyOf(const v1::SessionTask& last);

}  // namespace sessiond::db
