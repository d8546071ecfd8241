#include "db/query/artifact_queries.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/rows/artifact_rows.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

constexpr std::array<absl::string_view, 2> kKeys = {"a.created_at", "a.artifact_id"};

std::string Where(absl::string_view session_id, int partition_count, v1::SessionArtifact::Kind kind,
                  Parameters* parameters) {
  std::string where = OfSessionSql("a", session_id, partition_count, parameters);
  if (kind != v1::SessionArtifact::KIND_UNSPECIFIED)
    absl::StrAppend(&where, " AND a.kind = ", parameters->SmallInteger(kind));
  return where;
}

Sql ArtifactPageSql(std::string where, bool descending, int page_size, std::size_t bytes_max,
                    Parameters parameters) {
  return PageSql({.alias = "a",
                  .from = "session_artifacts a",
                  .where = std::move(where),
                  .keys = {kKeys.begin(), kKeys.end()},
                  .descending = descending,
                  .columns = kArtifactColumns,
                  .bytes = "octet_length(a.uri) + octet_length(a.metadata::text)",
                  .bytes_max = bytes_max},
                 page_size, std::move(parameters));
}

}  // namespace

Sql ListArtifactsSql(absl::string_view session_id, int partition_count,
                     v1::SessionArtifact::Kind kind, const std::optional<TimeKey>& after,
                     int page_size) {
  Parameters parameters;
  std::string where = Where(session_id, partition_count, kind, &parameters);
  if (after.has_value()) {
    const std::string key[] = {parameters.Time(after->time), parameters.Text(after->id)};
    absl::StrAppend(&where, " AND ", BehindSql(kKeys, false, key));
  }
  return ArtifactPageSql(std::move(where), false, page_size, kPageBytesMax, std::move(parameters));
}

bool ReadArtifactPage(const Result& result, int page_size, v1::ListArtifactsResponse* response) {
  return ReadPage(
      result, page_size, response->mutable_artifacts(),
      [&](int row, v1::SessionArtifact* artifact) { ReadArtifact(result, row, 1, artifact); });
}

TimeKey KeyOf(const v1::SessionArtifact& last) {
  return {.time = FromProto(last.create_time()), .id = last.artifact_id()};
}

Sql NewestFilesSql(absl::string_view session_id, int partition_count) {
  Parameters parameters;
  std::string where = Where(session_id, partition_count, v1::SessionArtifact::FILE, &parameters);
  return ArtifactPageSql(std::move(where), true, kViewRowsMax, kViewBytesMax,
                         std::move(parameters));
}

void ReadNewestFiles(const Result& result,
                     google::protobuf::RepeatedPtrField<v1::SessionArtifact>* files) {
  ReadPage(
      result, kViewRowsMax, files,
      [&](int row, v1::SessionArtifact* file) { ReadArtifact(result, row, 1, file); },
      kViewBytesMax);
}

}  // namespace sessiond::db
