#include "db/rows/resource_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

// The columns of one row, in their order.
class Columns {
 public:
  Columns(const Result& result, int row, int first_column)
      : result_(result), row_(row), next_(first_column) {}

  bool Bool() { return result_.Bool(row_, next_++); }
  int16_t Int2() { return result_.Int2(row_, next_++); }
  int32_t Int4() { return result_.Int4(row_, next_++); }
  int64_t Int8() { return result_.Int8(row_, next_++); }
  std::string Text() { return std::string(result_.Text(row_, next_++)); }
  absl::string_view Jsonb() { return result_.Jsonb(row_, next_++); }
  google::protobuf::Timestamp Time() { return ToProto(result_.Timestamp(row_, next_++)); }

  // Leave the field unset where the column is NULL.
  template <class Message>
  void Time(Message* message, google::protobuf::Timestamp* (Message::*mutable_field)()) {
    if (!IsNull()) *(message->*mutable_field)() = ToProto(result_.Timestamp(row_, next_));
    ++next_;
  }
  template <class Message>
  void Object(Message* message, Struct* (Message::*mutable_field)()) {
    if (!IsNull()) *(message->*mutable_field)() = StructFromJson(result_.Jsonb(row_, next_));
    ++next_;
  }
  // Leaves it unset where the object is empty.
  template <class Message>
  void Filled(Message* message, Struct* (Message::*mutable_field)()) {
    const absl::string_view json = Jsonb();
    if (json != "{}") *(message->*mutable_field)() = StructFromJson(json);
  }

  bool IsNull() const { return result_.IsNull(row_, next_); }
  int next() const { return next_; }

 private:
  const Result& result_;
  const int row_;
  int next_;
};

}  // namespace

void ReadSession(const Result& result, int row, int first_column, v1::Session* session) {
  Columns columns(result, row, first_column);
  session->set_session_id(columns.Text());
  session->set_namespace_(columns.Text());
  session->set_workflow(columns.Text());
  session->set_workflow_revision(columns.Int4());
  session->set_owner_id(columns.Text());
  session->set_owner_display_name(columns.Text());
  session->set_state(static_cast<v1::Session::State>(columns.Int2()));
  session->set_stage(columns.Text());
  session->set_status(columns.Text());
  columns.Time(session, &v1::Session::mutable_fail_time);
  session->set_fail_reason(columns.Text());
  *session->mutable_context() = StructFromJson(columns.Jsonb());
  MapFromJson(columns.Jsonb(), session->mutable_counters());
  MapFromJson(columns.Jsonb(), session->mutable_references());
  MapFromJson(columns.Jsonb(), session->mutable_labels());
  session->set_hold(columns.Bool());
  columns.Time(session, &v1::Session::mutable_create_time);
  columns.Time(session, &v1::Session::mutable_update_time);
  columns.Time(session, &v1::Session::mutable_complete_time);
  columns.Time(session, &v1::Session::mutable_delete_time);
  columns.Time(session, &v1::Session::mutable_purge_time);
  columns.Time(session, &v1::Session::mutable_recover_before_time);
  session->set_sequence(columns.Int4());
  session->set_revision(columns.Int4());
  session->set_has_blocking_errors(columns.Int4() > 0);
  session->set_message_count(columns.Int4());
  if (!columns.IsNull()) ReadTask(result, row, columns.next(), session->mutable_current_task());
}

void ReadTask(const Result& result, int row, int first_column, v1::SessionTask* task) {
  Columns columns(result, row, first_column);
  task->set_session_id(columns.Text());
  task->set_task_type(columns.Text());
  task->set_task_id(columns.Text());
  task->set_status(static_cast<v1::SessionTask::Status>(columns.Int2()));
  columns.Time(task, &v1::SessionTask::mutable_start_time);
  columns.Time(task, &v1::SessionTask::mutable_complete_time);
  columns.Time(task, &v1::SessionTask::mutable_fail_time);
  columns.Time(task, &v1::SessionTask::mutable_cancel_time);
  task->set_retry_count(columns.Int4());
  task->set_max_retries(columns.Int4());
  const int64_t heartbeat_ms = columns.Int8();
  if (heartbeat_ms > 0)
    *task->mutable_heartbeat_timeout() = ToProto(absl::Milliseconds(heartbeat_ms));
  columns.Time(task, &v1::SessionTask::mutable_heartbeat_time);
  columns.Object(task, &v1::SessionTask::mutable_progress);
  columns.Object(task, &v1::SessionTask::mutable_result);
  columns.Object(task, &v1::SessionTask::mutable_failure_context);
}

void ReadError(const Result& result, int row, int first_column, v1::SessionError* error) {
  Columns columns(result, row, first_column);
  error->set_error_id(columns.Text());
  error->set_session_id(columns.Text());
  error->set_category(static_cast<v1::SessionError::Category>(columns.Int2()));
  error->set_severity(static_cast<v1::SessionError::Severity>(columns.Int2()));
  error->set_operation_stage(columns.Text());
  error->set_related_file_id(columns.Text());
  error->set_related_ticket_id(columns.Text());
  error->set_user_message(columns.Text());
  ListFromJson(columns.Jsonb(), error->mutable_recovery_actions());
  columns.Filled(error, &v1::SessionError::mutable_technical_details);
  error->set_error_code(columns.Text());
  *error->mutable_create_time() = columns.Time();
  columns.Time(error, &v1::SessionError::mutable_resolve_time);
  error->set_resolver(columns.Text());
  error->set_resolution(columns.Text());
}

void ReadArtifact(const Result& result, int row, int first_column, v1::SessionArtifact* artifact) {
  Columns columns(result, row, first_column);
  artifact->set_artifact_id(columns.Text());
  artifact->set_session_id(columns.Text());
  artifact->set_kind(static_cast<v1::SessionArtifact::Kind>(columns.Int2()));
  artifact->set_display_name(columns.Text());
  artifact->set_uri(columns.Text());
  columns.Filled(artifact, &v1::SessionArtifact::mutable_metadata);
  *artifact->mutable_create_time() = columns.Time();
}

void ReadMessage(const Result& result, int row, int first_column, v1::SessionMessage* message) {
  Columns columns(result, row, first_column);
  message->set_message_id(columns.Text());
  message->set_session_id(columns.Text());
  message->set_sequence(columns.Int4());
  message->set_type(columns.Text());
  message->set_content(columns.Text());
  message->set_question_type(columns.Text());
  message->set_author(columns.Text());
  columns.Filled(message, &v1::SessionMessage::mutable_metadata);
  *message->mutable_create_time() = columns.Time();
}

void ReadEvent(const Result& result, int row, int first_column, v1::SessionEvent* event) {
  Columns columns(result, row, first_column);
  event->set_session_id(columns.Text());
  event->set_sequence(columns.Int4());
  *event->mutable_event_time() = columns.Time();
  event->set_type(static_cast<v1::SessionEvent::Type>(columns.Int2()));
  event->set_old_state(static_cast<v1::Session::State>(columns.Int2()));
  event->set_new_state(static_cast<v1::Session::State>(columns.Int2()));
  event->set_old_stage(columns.Text());
  event->set_new_stage(columns.Text());
  event->set_old_status(columns.Text());
  event->set_new_status(columns.Text());
  event->set_trigger(static_cast<v1::SessionEvent::Trigger>(columns.Int2()));
  event->set_actor(columns.Text());
  event->set_caller(columns.Text());
  event->set_reason(columns.Text());
  event->set_request_id(columns.Text());
  *event->mutable_changes() = StructFromJson(columns.Jsonb());
}

Tombstone ReadTombstone(const Result& result, int row, int first_column) {
  return {.archive_time = result.Timestamp(row, first_column),
          .namespace_name = std::string(result.Text(row, first_column + 1)),
          .owner_id = std::string(result.Text(row, first_column + 2))};
}

}  // namespace sessiond::db
