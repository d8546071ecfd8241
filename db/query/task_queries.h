// Lists of tasks over all sessions. page_sql.h says how pages work.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/task.pb.h"

namespace sessiond::db {

// One page of tasks of sessions that are not deleted, the newest started first.
ListQuestion<v1::SessionTask> ListPage(const TaskSelection& selection, int partition_count,
                                       const KeyValues& after, int page_size);

}  // namespace sessiond::db
