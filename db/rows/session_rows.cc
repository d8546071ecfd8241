#include "db/rows/session_rows.h"

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadSession(const Result& result, int row, int first_column, v1::Session* session) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  const auto time = [&](auto mutable_field) {
    if (!result.IsNull(row, column))
      *(session->*mutable_field)() = ToProto(result.Timestamp(row, column));
    ++column;
  };
  session->set_session_id(text());
  session->set_namespace_(text());
  session->set_workflow(text());
  session->set_workflow_revision(result.Int4(row, column++));
  session->set_owner_id(text());
  session->set_owner_display_name(text());
  session->set_state(static_cast<v1::Session::State>(result.Int2(row, column++)));
  session->set_stage(text());
  session->set_status(text());
  time(&v1::Session::mutable_fail_time);
  session->set_fail_reason(text());
  *session->mutable_context() = StructFromJson(result.Jsonb(row, column++));
  MapFromJson(result.Jsonb(row, column++), session->mutable_counters());
  MapFromJson(result.Jsonb(row, column++), session->mutable_references());
  MapFromJson(result.Jsonb(row, column++), session->mutable_labels());
  session->set_hold(result.Bool(row, column++));
  time(&v1::Session::mutable_create_time);
  time(&v1::Session::mutable_update_time);
  time(&v1::Session::mutable_complete_time);
  time(&v1::Session::mutable_delete_time);
  time(&v1::Session::mutable_purge_time);
  time(&v1::Session::mutable_recover_before_time);
  session->set_sequence(result.Int4(row, column++));
  session->set_revision(result.Int4(row, column++));
  session->set_has_blocking_errors(result.Int4(row, column++) > 0);
  session->set_message_count(result.Int4(row, column++));
  if (!result.IsNull(row, column)) ReadTask(result, row, column, session->mutable_current_task());
}

Tombstone ReadTombstone(const Result& result, int row, int first_column) {
  return {.archive_time = result.Timestamp(row, first_column),
          .namespace_name = std::string(result.Text(row, first_column + 1)),
          .owner_id = std::string(result.Text(row, first_column + 2))};
}

}  // namespace sessiond::db
