// Lists of artifacts. page_sql.h says how pages work.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/artifact.pb.h"

namespace sessiond::db {

// One page of a session's artifacts, the oldest first. Does not check whether the session exists
// and may be seen.
ListQuestion<v1::SessionArtifact> ListPage(const ArtifactSelection& selection, int partition_count,
                                           const KeyValues& after, int page_size);

// The newest of kind FILE, for the FULL view of a session: at most kViewRowsMax.
Question<Page<v1::SessionArtifact>> NewestFiles(absl::string_view session_id, int partition_count);

}  // namespace sessiond::db
