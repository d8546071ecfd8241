#include "db/rows/message_rows.h"

#include <string>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {

void ReadMessage(const Result& result, int row, int first_column, v1::SessionMessage* message) {
  int column = first_column;
  const auto text = [&] { return std::string(result.Text(row, column++)); };
  message->set_message_id(text());
  message->set_session_id(text());
  message->set_sequence(result.Int4(row, column++));
  message->set_type(text());
  message->set_content(text());
  message->set_question_type(text());
  message->set_author(text());
  const absl::string_view metadata = result.Jsonb(row, column++);
  if (metadata != "{}") *message->mutable_metadata() = StructFromJson(metadata);
  *message->mutable_create_time() = ToProto(result.Timestamp(row, column++));
}

}  // namespace sessiond::db
