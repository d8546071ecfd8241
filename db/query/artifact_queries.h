// Lists of artifacts. How pages work is told in page_sql.h.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/artifact.pb.h"

namespace sessiond::db {

// One page of a session's artifacts, the oldest first. Whether there is such a session, and whether
// it may be seen, is not asked here.
ListQuestion<v1::SessionArtifact> ListPage(const ArtifactSelection& selection, int partition_count,
                                           const KeyValues& after, int page_size);

// The newest of kind FILE, for the FULL view of a session: at most kViewRowsMax.
Question<Page<v1::SessionArtifact>> NewestFiles(absl::string_view session_id, int partition_count);

}  // namespace sessiond::db
