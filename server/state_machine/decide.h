// The state machine: what a command does to a session, or why not.
//
//   Decide(workflow, aggregate, command, now) → Decision (the session as it will be, and the events
//   to append) | refusal
//
// Pure: no I/O, no clock, no random ids, no lock. Every mutation of every service goes through
// here, and every check that needs the session happens here, in the order that the contract
// publishes: existence, etag, state, stage and fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/state_machine/workflow.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond {

using Request =
    std::variant<v1::CreateSessionRequest, v1::ActivateSessionRequest, v1::UpdateSessionRequest,
                 v1::AdvanceSessionRequest, v1::PauseSessionRequest, v1::ResumeSessionRequest,
                 v1::StopSessionRequest, v1::FailSessionRequest, v1::DeleteSessionRequest,
                 v1::UndeleteSessionRequest>;

// A validated request, and what only the rim knows: who calls, and what was drawn.
struct Command {
  Request request;
  // The authenticated caller; `system` for the daemon itself.
  std::string caller;
  // The caller's, or drawn.
  std::string request_id;
  // The session it is about; for a creation the id it will have.
  std::string session_id;
  // Creations only: the newest revision of the workflow, and whether the id was drawn here.
  std::shared_ptr<const Workflow> workflow;
  bool session_id_drawn = false;
  // Set off by the daemon because a time had passed.
  bool by_timeout = false;
};

// What is left of a session whose payload was removed.
struct Tombstone {
  absl::Time archive_time;
};

// Everything a decision may look at.
struct Aggregate {
  std::optional<v1::Session> session;
  std::optional<Tombstone> tombstone;
};

// The session as it will be, and the facts that made it so: one to four.
struct Decision {
  v1::Session session;
  std::vector<v1::SessionEvent> events;
};

// `workflow` is the revision that the session pins; for a creation, the command's. `now` is the
// database's clock; what happens is never dated before the session's last event.
absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now);

// Why a session that a call names is not there for it: NEVER_EXISTED, ARCHIVED or, unless
// `include_deleted`, DELETED. OK when it is.
absl::Status CheckExists(absl::string_view session_id, const Aggregate& aggregate,
                         bool include_deleted);

// Fills the fields that are derived for a reader: display name, next stage, etag, recoverable.
void Present(const Workflow& workflow, absl::Time now, v1::Session* session);

std::string EtagOf(const v1::Session& session);

// Rebuilds a session from all of its events, without the fields that Present fills: the audit is
// complete, and this is how a test knows. INTERNAL: the events are not those of one session, or one
// is missing.
absl::StatusOr<v1::Session> Replay(const std::vector<v1::SessionEvent>& events);

}  // namespace sessiond
