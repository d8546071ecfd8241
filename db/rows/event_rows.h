// Rows of session_events → Protobuf.
#pragma once

#include "absl/strings/string_view.h"
#include "db/connection/connection.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond::db {

// The columns ReadEvent reads, of a table or subquery called `e`.
inline constexpr absl::string_view kEventColumns =
    "e.session_id, e.sequence, e.event_at, e.type, e.old_state, e.new_state, e.old_stage, "
    "e.new_stage, "
    "e.old_status, e.new_status, e.trigger, e.actor, e.caller, e.reason, e.request_id, e.changes";

// REQUIRES: kEventColumns begin at `first_column`.
void ReadEvent(const Result& result, int row, int first_column, v1::SessionEvent* event);

}  // namespace sessiond::db
