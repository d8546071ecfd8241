#include "db/rows/error_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadError(const Result& result, int row, int first_column, v1::SessionError* error) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  error->set_error_id(text());
  error->set_session_id(text());
  error->set_category(static_cast<v1::SessionError::Category>(result.Int2(row, column++)));
  error->set_severity(static_cast<v1::SessionError::Severity>(result.Int2(row, column++)));
  error->set_operation_stage(text());
  error->set_related_file_id(text());
  error->set_related_ticket_id(text());
  error->set_user_message(text());
  ListFromJson(result.Jsonb(row, column++), error->mutable_recovery_actions());
  const absl::string_view details = result.Jsonb(row, column++);
  if (details != "{}") *error->mutable_technical_details() = StructFromJson(details);
  error->set_error_code(text());
  *error->mutable_create_time() = ToProto(result.Timestamp(row, column++));
  if (!result.IsNull(row, column))
    *error->mutable_resolve_time() = ToProto(result.Timestamp(row, column));
  ++column;
  error->set_resolver(text());
  error->set_resolution(text());
}

}  // namespace sessiond::db
