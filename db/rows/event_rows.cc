#include "db/rows/event_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadEvent(const Result& result, int row, int first_column, v1::SessionEvent* event) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  const auto number = [&] { return result.Int2(row, column++); };
  event->set_session_id(text());
  event->set_sequence(result.Int4(row, column++));
  *event->mutable_event_time() = ToProto(result.Timestamp(row, column++));
  event->set_type(static_cast<v1::SessionEvent::Type>(number()));
  event->set_old_state(static_cast<v1::Session::State>(number()));
  event->set_new_state(static_cast<v1::Session::State>(number()));
  event->set_old_stage(text());
  event->set_new_stage(text());
  event->set_old_status(text());
  event->set_new_status(text());
  event->set_trigger(static_cast<v1::SessionEvent::Trigger>(number()));
  event->set_actor(text());
  event->set_caller(text());
  event->set_reason(text());
  event->set_request_id(text());
  *event->mutable_changes() = StructFromJson(result.Jsonb(row, column++));
}

}  // namespace sessiond::db
