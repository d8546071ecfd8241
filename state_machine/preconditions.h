// What the decisions of all families share: their context, the checks that come first, and the
// refusals that more than one of them gives. Each request has one decision, in decide_*.cc.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "state_machine/decide.h"
#include "state_machine/event_recorder.h"
#include "state_machine/lifecycle.h"
#include "state_machine/workflow.h"

namespace sessiond {

// Why the session that a call names cannot be found: NEVER_EXISTED, which is also what is out of
// scope, ARCHIVED or, unless `include_deleted`, DELETED. OK when it can.
absl::Status CheckExists(absl::string_view session_id, const Aggregate& aggregate,
                         const Scope& scope, bool include_deleted);

// What a decision looks at.
struct Context {
  const Workflow& workflow;
  const Aggregate& aggregate;
  const Command& command;
  absl::Time now;

  // REQUIRES: the session exists.
  const v1::Session& session() const { return *aggregate.session; }
  EventRecorder Open() const { return EventRecorder(workflow, aggregate, command, now); }

  // Existence, etag and state: what every call about an existing session begins with.
  absl::Status Begin(Call call, const std::string& etag, bool force = false) const;
  // The parts of Begin, for calls that check something else in between.
  absl::Status CheckExists(Call call) const;
  absl::Status CheckEtag(const std::string& etag) const;
  absl::Status CheckState(Call call, bool force = false) const;

  // The states, and the mark of failure, that verbs lead to from here.
  std::vector<std::string> ReachableStates() const;

  // Whether the session can move to `stage`: it is the next one, its fields are set, and nothing
  // blocks.
  absl::Status CheckAdvance(const std::string& stage) const;
};

// One decision for each verb.
#define VERB(call, reply) \
  absl::StatusOr<Decision> Decide(const Context& context, const v1::call##Request& request);
#include "state_machine/verbs.inc"

// Facts that more than one decision records.

// A new session: the fields that a caller may give, and the workflow's counters at 0.
v1::Session InitialSession(const Workflow& workflow, const std::string& id,
                           const v1::Session& given);

// The session moves to `stage`, and is completed if that is the last one.
void RecordAdvance(EventRecorder& recorder, const Workflow& workflow, const std::string& stage);
// STOPPED, or COMPLETED; a running task is cancelled first.
void RecordStop(EventRecorder& recorder, const Workflow& workflow, v1::SessionEvent::Type type);
void RecordFail(EventRecorder& recorder, const std::string& reason);
void RecordCancel(EventRecorder& recorder);
void RecordError(EventRecorder& recorder, const v1::SessionError& given);
// Whether the error can be recorded: its stage is in the workflow, its links are the session's.
absl::Status CheckError(const Context& context, const v1::SessionError& given,
                        absl::string_view path);
Value StatusFact(v1::SessionTask::Status status);
// The next messages of the session, and what they add to counters.
void RecordMessages(EventRecorder& recorder, int32_t count,
                    const std::map<std::string, int32_t>& counters);
// 0 for a counter that the session does not have.
int32_t CounterOf(const v1::Session& session, const std::string& name);
// REQUIRES: the sum is within a counter's range.
void AddToCounter(const v1::Session& session, const std::string& name, int32_t increment,
                  Changes& changes);
// Sets or clears purge_time; makes no change if it is unset and stays unset.
void SetPurgeTime(const v1::Session& session, absl::Time due, Changes& changes);

// NOT_ALLOWED: the caller may not have a session here.
absl::Status CheckInScope(const Scope& scope, const v1::Session& session);

// Refusals that more than one decision gives.

std::string StateName(v1::Session::State state);
absl::Status InvalidTransition(absl::string_view from, absl::string_view to,
                               const std::vector<std::string>& allowed, absl::string_view why = "");
absl::Status FieldsMissing(const std::vector<std::string>& missing, absl::string_view stage,
                           absl::string_view what);
absl::Status ContextViolation(const Workflow& workflow, const Workflow::Violations& violations);
// INVALID_FIELD. REQUIRES: at least one violation.
absl::Status InvalidFields(const Workflow::Violations& violations);
absl::Status SessionExists(const std::string& session_id);
absl::Status HoldActive(const std::string& session_id, absl::string_view what);
absl::Status NotActive(const Workflow& workflow, const v1::Session& session, absl::string_view rpc,
                       absl::string_view why = "");
absl::Status ErrorNotFound(const std::string& session_id, const std::string& error_id);
absl::Status TaskNotFound(const std::string& session_id);
absl::Status TaskAlreadyRunning(const v1::SessionTask& task, absl::string_view way_out);
absl::Status WindowIsOver(const v1::Session& session);
// All checks of the fields that need the workflow.
absl::Status CheckFields(const Workflow& workflow, const v1::Session& session);

}  // namespace sessiond
