#include "db/rows/task_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadTask(const Result& result, int row, int first_column, v1::SessionTask* task) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  const auto time = [&](auto mutable_field) {
    if (!result.IsNull(row, column))
      *(task->*mutable_field)() = ToProto(result.Timestamp(row, column));
    ++column;
  };
  const auto object = [&](auto mutable_field) {
    if (!result.IsNull(row, column))
      *(task->*mutable_field)() = StructFromJson(result.Jsonb(row, column));
    ++column;
  };
  task->set_session_id(text());
  task->set_task_type(text());
  task->set_task_id(text());
  task->set_status(static_cast<v1::SessionTask::Status>(result.Int2(row, column++)));
  time(&v1::SessionTask::mutable_start_time);
  time(&v1::SessionTask::mutable_complete_time);
  time(&v1::SessionTask::mutable_fail_time);
  time(&v1::SessionTask::mutable_cancel_time);
  task->set_retry_count(result.Int4(row, column++));
  task->set_max_retries(result.Int4(row, column++));
  const int64_t heartbeat_ms = result.Int8(row, column++);
  if (heartbeat_ms > 0)
    *task->mutable_heartbeat_timeout() = ToProto(absl::Milliseconds(heartbeat_ms));
  time(&v1::SessionTask::mutable_heartbeat_time);
  object(&v1::SessionTask::mutable_progress);
  object(&v1::SessionTask::mutable_result);
  object(&v1::SessionTask::mutable_failure_context);
}

}  // namespace sessiond::db
