#include "db/query/artifact_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/rows/artifact_rows.h"

namespace sessiond::db {
namespace {

PageParts Parts(const ArtifactSelection& selection, int partition_count, Parameters* parameters) {
  PageParts parts{.alias = "a",
                  .from = "session_artifacts a",
                  .where = OfSessionSql("a", selection.session_id, partition_count, parameters),
                  .keys = {{"a.created_at", "timestamptz"}, {"a.artifact_id", "text"}},
                  .columns = kArtifactColumns,
                  .bytes = "octet_length(a.uri) + octet_length(a.metadata::text)"};
  if (selection.kind != v1::SessionArtifact::KIND_UNSPECIFIED)
    absl::StrAppend(&parts.where, " AND a.kind = ", parameters->SmallInteger(selection.kind));
  return parts;
}

}  // namespace

ListQuestion<v1::SessionArtifact> ListPage(const ArtifactSelection& selection, int partition_count,
                                           const KeyValues& after, int page_size) {
  Parameters parameters;
  const PageParts parts = Parts(selection, partition_count, &parameters);
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadArtifact);
}

Question<Page<v1::SessionArtifact>> NewestFiles(absl::string_view session_id, int partition_count) {
  Parameters parameters;
  PageParts parts =
      Parts({.session_id = std::string(session_id), .kind = v1::SessionArtifact::FILE},
            partition_count, &parameters);
  parts.descending = true;
  parts.bytes_max = kViewBytesMax;
  return *PageQuestion(parts, {}, kViewRowsMax, std::move(parameters), ReadArtifact);
}

}  // namespace sessiond::db
