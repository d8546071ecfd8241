// Lists of tasks, messages and artifacts; those of sessions and errors have files of their own.
// page_sql.h says how pages work.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/artifact.pb.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/task.pb.h"

namespace sessiond::db {

// One page of tasks of sessions that are not deleted, the newest started first.
ListQuestion<v1::SessionTask> ListPage(const TaskSelection& selection, int partition_count,
                                       const KeyValues& after, int page_size);

// One page of a session's messages; of its artifacts, the oldest first. Neither checks whether the
// session exists and may be seen.
ListQuestion<v1::SessionMessage> ListPage(const MessageSelection& selection, int partition_count,
                                          const KeyValues& after, int page_size);
ListQuestion<v1::SessionArtifact> ListPage(const ArtifactSelection& selection, int partition_count,
                                           const KeyValues& after, int page_size);

// The newest artifacts of kind FILE, for the FULL view of a session: at most kViewRowsMax.
Question<Page<v1::SessionArtifact>> NewestFiles(absl::string_view session_id, int partition_count);

}  // namespace sessiond::db
