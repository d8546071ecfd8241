#include "db/rows/artifact_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadArtifact(const Result& result, int row, int first_column, v1::SessionArtifact* artifact) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  artifact->set_artifact_id(text());
  artifact->set_session_id(text());
  artifact->set_kind(static_cast<v1::SessionArtifact::Kind>(result.Int2(row, column++)));
  artifact->set_display_name(text());
  artifact->set_uri(text());
  const absl::string_view metadata = result.Jsonb(row, column++);
  if (metadata != "{}") *artifact->mutable_metadata() = StructFromJson(metadata);
  *artifact->mutable_create_time() = ToProto(result.Timestamp(row, column++));
}

}  // namespace sessiond::db
