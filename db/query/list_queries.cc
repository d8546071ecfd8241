#include "db/query/list_queries.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/filter_sql.h"
#include "db/rows/resource_rows.h"

namespace sessiond::db {
namespace {

PageParts ArtifactParts(const ArtifactSelection& selection, int partition_count,
                        TextParams* parameters) {
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

ListQuestion<v1::SessionTask> ListPage(const TaskSelection& selection, int partition_count,
                                       const KeyValues& after, int page_size) {
  TextParams parameters;
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

ListQuestion<v1::SessionMessage> ListPage(const MessageSelection& selection, int partition_count,
                                          const KeyValues& after, int page_size) {
  TextParams parameters;
  const PageParts parts{
      .alias = "m",
      .from = "session_messages m",
      .where = OfSessionSql("m", selection.session_id, partition_count, &parameters),
      .keys = {{"m.sequence", "integer"}},
      .descending = selection.descending,
      .columns = kMessageColumns,
      .bytes = "octet_length(m.content) + octet_length(m.metadata::text)"};
  // All pages except the first come after it anyway.
  const bool begins = after.empty() && selection.after_sequence > 0;
  return PageQuestion(parts, begins ? KeyValues{absl::StrCat(selection.after_sequence)} : after,
                      page_size, std::move(parameters), ReadMessage);
}

ListQuestion<v1::SessionArtifact> ListPage(const ArtifactSelection& selection, int partition_count,
                                           const KeyValues& after, int page_size) {
  TextParams parameters;
  const PageParts parts = ArtifactParts(selection, partition_count, &parameters);
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadArtifact);
}

Question<Page<v1::SessionArtifact>> NewestFiles(absl::string_view session_id, int partition_count) {
  TextParams parameters;
  PageParts parts =
      ArtifactParts({.session_id = std::string(session_id), .kind = v1::SessionArtifact::FILE},
                    partition_count, &parameters);
  parts.descending = true;
  parts.bytes_max = kViewBytesMax;
  return *PageQuestion(parts, {}, kViewRowsMax, std::move(parameters), ReadArtifact);
}

}  // namespace sessiond::db
