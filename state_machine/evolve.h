// What an event does to its session, and the only code that changes a session:
//
//   a decision ── Changes ──▶ EventRecorder ── event ──▶ Evolve ──▶ the session as it will be
//   the audit  ── events ──▶ Replay ────────────▶ Evolve ──▶ the session as it is stored
//   a watch    ── event ──▶ StepBack ──▶ the session as it was, for filters
//
// A bare heartbeat of a task is not a fact: it is the only change without an event.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond {

// The last event of a session: only it and a tombstone are left.
bool IsEnd(const v1::SessionEvent& event);

// Takes the session from before the event to after it, without the fields that Present fills.
// Before its first event a session is empty.
void Evolve(const v1::SessionEvent& event, v1::Session* session);

// The session that results from all of its events. INTERNAL: the events are not those of one
// session, or one is missing.
absl::StatusOr<v1::Session> Replay(const std::vector<v1::SessionEvent>& events);

// The fields that filters look at and of which an event has only the new value: field path → its
// value in the session before the event, null for none. Empty for a first event.
google::protobuf::Struct BeforeOf(const v1::SessionEvent& event, const v1::Session& session);

// Undoes Evolve for the fields that filters look at. `before` is BeforeOf; `previous_time` is the
// time of the event before; `marked_time`, for RECOVERED and UNDELETED, is when the session had
// failed or was deleted. A time that is not known is taken to be the event's own, the latest
// possible.
void StepBack(const v1::SessionEvent& event, const google::protobuf::Struct& before,
              std::optional<absl::Time> previous_time, std::optional<absl::Time> marked_time,
              v1::Session* session);

}  // namespace sessiond
