// The state machine: what a command does to a session, or why not.
//
//   Decide(workflow, aggregate, command, now) → the new session and its new events, or a refusal
//
// Pure: no I/O, no clock, no random ids, no lock. Every change that any service makes goes through
// here. Every check that needs the session is done here, in the order that the contract publishes:
// existence, etag, state, stage and fields.
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
#include "state_machine/scope.h"
#include "state_machine/workflow.h"

namespace sessiond {

// The request of one of the verbs.
// clang-format off
template <class, class... Requests>
using OneOf = std::variant<Requests...>;
using Request = OneOf<void
#define VERB(call, reply) , v1::call##Request
#include "state_machine/verbs.inc"
>;
// clang-format on

// A validated request, with what only the server knows: the caller, and drawn random values.
struct Command {
  Request request;
  // The authenticated caller; `system` for the daemon itself.
  std::string caller;
  // What the caller may see and change.
  Scope scope = {};
  // The caller's own, or drawn.
  std::string request_id;
  // The session to change; for a creation the id it will have.
  std::string session_id;
  // Creations only: the newest revision of the workflow, and whether the id was drawn by the
  // server.
  std::shared_ptr<const Workflow> workflow;
  bool session_id_drawn = false;
  // Imports only: the sequence of the existing session, to which this import adds what an earlier
  // one left out; the request then holds nothing else. 0: the session must not exist yet.
  int32_t completes = 0;
  // Sent by the daemon itself because a timeout has passed.
  bool by_timeout = false;
  // The source of the ids that a decision draws: a request's own, wherever it is carried out.
  std::array<uint64_t, 2> seed = {0, 0};
};

// What is left of a session whose payload was removed.
struct Tombstone {
  absl::Time archive_time;
  // As the session had them; no owner once that was erased.
  std::string namespace_name, owner_id;
};

// Errors of severity BLOCKING that are not resolved.
struct BlockingErrors {
  int count = 0;
  // The oldest of them, oldest first; beyond kBlockingErrorIdsMax they are only counted.
  std::vector<std::string> ids;
};
inline constexpr int kBlockingErrorIdsMax = 8;  // More than a group usually resolves.

// Everything a decision may look at.
struct Aggregate {
  // With its current task.
  std::optional<v1::Session> session;
  std::optional<Tombstone> tombstone;
  BlockingErrors blocking;
  // What the command names by id, if the session has it.
  std::map<std::string, v1::SessionError> errors;
  std::map<std::string, v1::SessionArtifact> artifacts;
  // Of the ids that the command gives for tasks and messages, those that the session has already
  // used.
  std::set<std::string> used_ids;
};

struct NewMessage {
  v1::SessionMessage message;
  // Whether the caller chose its id.
  bool id_brought = false;
};

// What to write: the session after the decision, the facts that changed it (one to four; none for a
// bare heartbeat), and the rows below it.
struct Decision {
  // What happens to the session's payload.
  enum class End { kNone, kArchived, kErased };

  v1::Session session;
  BlockingErrors blocking;
  End end = End::kNone;
  std::vector<v1::SessionEvent> events;
  // For each event the old values of the fields that filters look at, where the event does not have
  // them: field path → old value, null for none.
  std::vector<google::protobuf::Struct> before;
  bool task_changed = false;
  // Recorded or resolved, as they are now.
  std::vector<v1::SessionError> errors;
  std::vector<NewMessage> messages;
  std::vector<v1::SessionArtifact> artifacts;
  // The ids of artifacts to delete; errors about them lose the link.
  std::vector<std::string> deleted_artifacts;
};

// Applies a decision in memory, so that the next command for the session builds on it. Moves what
// the aggregate needs out of it: everything but events and messages.
void Apply(Decision& decision, Aggregate* aggregate);

// `workflow` is the revision that the session pins; for a creation, the command's. `now` is the
// database's clock; no event is dated before the session's last event.
absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now);

}  // namespace sessiond
