// The state machine: what a command does to a session, or why not.
//
//   Decide(workflow, aggregate, command, now) → Decision (the session as it will be, and the events
//   to append) | refusal
//
// Pure: no I/O, no clock, no random ids, no lock. Every mutation of every service goes through
// here, and every check that needs the session happens here, in the order that the contract
// publishes: existence, etag, state, stage and fields.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "state_machine/workflow.h"

namespace sessiond {

// What is asked for: the request of one of the verbs.
// clang-format off
template <class, class... Requests>
using OneOf = std::variant<Requests...>;
using Request = OneOf<void
#define VERB(call, reply) , v1::call##Request
#include "state_machine/verbs.inc"
>;
// clang-format on

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
  // Imports only: the sequence of the session that is there and gets what an earlier import left
  // out, which is all that the request has then. 0: there is to be none yet.
  int32_t completes = 0;
  // Set off by the daemon because a time had passed.
  bool by_timeout = false;
  // What the ids that a decision draws are made of; random, and never used twice.
  std::array<uint64_t, 2> seed = {0, 0};
};

// What is left of a session whose payload was removed.
struct Tombstone {
  absl::Time archive_time;
};

// Errors of severity BLOCKING that are not resolved.
struct BlockingErrors {
  int count = 0;
  // The oldest of them, oldest first; those beyond kBlockingErrorIdsMax are only counted.
  std::vector<std::string> ids;
};
inline constexpr int kBlockingErrorIdsMax = 8;  // More than a group usually resolves.

// Everything a decision may look at.
struct Aggregate {
  // With its current task.
  std::optional<v1::Session> session;
  std::optional<Tombstone> tombstone;
  BlockingErrors blocking;
  // What the command names by id, as far as the session has it.
  std::map<std::string, v1::SessionError> errors;
  std::map<std::string, v1::SessionArtifact> artifacts;
  // Of the ids that the command brings for tasks and messages, those that the session had before.
  std::set<std::string> used_ids;
};

struct NewMessage {
  v1::SessionMessage message;
  // Whether its id was the caller's own.
  bool id_brought = false;
};

// What will be written: the session as it will be, the facts that made it so (one to four; none for
// a bare heartbeat), and the rows below it.
struct Decision {
  // What becomes of the session's payload.
  enum class End { kNone, kArchived, kErased };

  v1::Session session;
  BlockingErrors blocking;
  End end = End::kNone;
  std::vector<v1::SessionEvent> events;
  // For each event what the fields that filters look at were before it, where the event does not
  // tell: field path → old value, null for none.
  std::vector<google::protobuf::Struct> before;
  bool task_changed = false;
  // Recorded or resolved, as they are now.
  std::vector<v1::SessionError> errors;
  std::vector<NewMessage> messages;
  std::vector<v1::SessionArtifact> artifacts;
  // The ids of artifacts that go; errors about them lose the link.
  std::vector<std::string> deleted_artifacts;
};

// Puts a decision into effect in memory, so that the next command for the session builds on it.
// Takes out of it what the aggregate keeps: all but events and messages.
void Apply(Decision& decision, Aggregate* aggregate);

// `workflow` is the revision that the session pins; for a creation, the command's. `now` is the
// database's clock; what happens is never dated before the session's last event.
absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now);

// Why a session that a call names is not there for it: NEVER_EXISTED, ARCHIVED or, unless
// `include_deleted`, DELETED. OK when it is.
absl::Status CheckExists(absl::string_view session_id, const Aggregate& aggregate,
                         bool include_deleted);

// Fills the fields that are derived for a reader: display name, next stage, etag, recoverable, and
// those of the task.
void Present(const Workflow& workflow, absl::Time now, v1::Session* session);
// Until when a session that was presented stays as it is, unless an event changes it: until its
// recovery window closes; while its task runs, which grows older and whose bare heartbeats are no
// events, it is past already.
absl::Time PresentedUntil(const v1::Session& session);
// The same for what is read by itself: duration and retryable, age.
void Present(absl::Time now, v1::SessionTask* task);
void Present(absl::Time now, v1::SessionError* error);

std::string EtagOf(const v1::Session& session);

}  // namespace sessiond
