// What an event does to its session, and the only way in which a session comes to be what it is:
//
//   a decision ── Changes ──▶ EventRecorder ── event ──▶ Evolve ──▶ the session as it will be
//   the audit  ── events ──▶ Replay ────────────▶ Evolve ──▶ the session as it is stored
//   a watch    ── event ──▶ StepBack ──▶ the session as it was, in what filters look at
//
// A bare heartbeat of a task is no fact, and the one thing of which there is no event.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond {

// The last event of a session: nothing but it and a tombstone is left.
bool IsEnd(const v1::SessionEvent& event);

// Takes the session from as the event found it to as the event left it, without the fields that
// Present fills. A session of which it is the first event is empty before.
void Evolve(const v1::SessionEvent& event, v1::Session* session);

// The session that all of its events make. INTERNAL: the events are not those of one session, or
// one is missing.
absl::StatusOr<v1::Session> Replay(const std::vector<v1::SessionEvent>& events);

// What filters look at, and of which an event tells only what it became: field path → what it was
// in the session that the event finds, null for none. Empty for a first event.
google::protobuf::Struct BeforeOf(const v1::SessionEvent& event, const v1::Session& session);

// Evolve backwards, in what filters look at. `before` is BeforeOf; `previous_time` is that of the
// event before; `marked_time`, for RECOVERED and UNDELETED, is when the session had failed or was
// deleted. Where a time is not known, the event's own is the latest that it can have been.
void StepBack(const v1::SessionEvent& event, const google::protobuf::Struct& before,
              std::optional<absl::Time> previous_time, std::optional<absl::Time> marked_time,
              v1::Session* session);

}  // namespace sessiond
