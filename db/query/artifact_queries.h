// Lists of artifacts. How pages work is told in page_sql.h.
#pragma once

#include <optional>

#include "db/query/page_sql.h"
#include "sessiond/v1/artifact_service.pb.h"

namespace sessiond::db {

// One page of a session's artifacts of this kind (KIND_UNSPECIFIED: any), the oldest first; read it
// with ReadArtifactPage. Whether there is such a session, and whether it may be seen, is not asked
// here.
Sql ListArtifactsSql(absl::string_view session_id, int partition_count,
                     v1::SessionArtifact::Kind kind, const std::optional<TimeKey>& after,
                     int page_size);

// True: there are more.
bool ReadArtifactPage(const Result& result, int page_size, v1::ListArtifactsResponse* response);

// Where a page that ends with this artifact ended.
TimeKey KeyOf(const v1::SessionArtifact& last);

// The newest of kind FILE, for the FULL view of a session: at most kViewRowsMax.
Sql NewestFilesSql(absl::string_view session_id, int partition_count);
void ReadNewestFiles(const Result& result,
                     google::protobuf::RepeatedPtrField<v1::SessionArtifact>* files);

}  // namespace sessiond::db
