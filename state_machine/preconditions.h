// What the decisions of all families have in common: what they look at, the checks that come first,
// and the refusals that more than one of them gives. One decision a request, in decide_*.cc.
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

// What a decision looks at.
struct Context {
  const Workflow& workflow;
  const Aggregate& aggregate;
  const Command& command;
  absl::Time now;

  // REQUIRES: there is a session.
  const v1::Session& session() const { return *aggregate.session; }
  EventRecorder Open() const { return EventRecorder(workflow, aggregate, command, now); }

  // Existence, etag and state: what every call about an existing session begins with.
  absl::Status Begin(Call call, const std::string& etag, bool force = false) const;
  // Its parts, for calls that look at something else in between.
  absl::Status CheckExists(Call call) const;
  absl::Status CheckEtag(const std::string& etag) const;
  absl::Status CheckState(Call call, bool force = false) const;

  // The states, and the mark of failure, that verbs reach from here.
  std::vector<std::string> ReachableStates() const;

  // Whether the session can move to `stage`: the next one, its fields there, and nothing blocking.
  absl::Status CheckAdvance(const std::string& stage) const;
};

// One decision for each verb.
#define VERB(call, reply) \
  absl::StatusOr<Decision> Decide(const Context& context, const v1::call##Request& request);
#include "state_machine/verbs.inc"

// Facts that more than one decision records.

// A session at its beginning: what a caller may give of it, and the workflow's counters at 0.
v1::Session InitialSession(const Workflow& workflow, const std::string& id,
                           const v1::Session& given);

// The session moves to `stage`, and is completed there if it is the last.
void RecordAdvance(EventRecorder& recorder, const Workflow& workflow, const std::string& stage);
// STOPPED, or COMPLETED; what runs is cancelled first.
void RecordStop(EventRecorder& recorder, const Workflow& workflow, v1::SessionEvent::Type type);
void RecordFail(EventRecorder& recorder, const std::string& reason);
void RecordCancel(EventRecorder& recorder);
void RecordError(EventRecorder& recorder, const v1::SessionError& given);
// Whether it can be recorded: its stage is the workflow's, its links are the session's.
absl::Status CheckError(const Context& context, const v1::SessionError& given,
                        absl::string_view path);
Value StatusFact(v1::SessionTask::Status status);
// The next messages of the session, and what they add to counters.
void RecordMessages(EventRecorder& recorder, int32_t count,
                    const std::map<std::string, int32_t>& counters);
// 0 for one that the session does not have.
int32_t CounterOf(const v1::Session& session, const std::string& name);
// REQUIRES: the sum is a counter's.
void AddToCounter(const v1::Session& session, const std::string& name, int32_t increment,
                  Changes& changes);
// Sets or clears purge_time; no change where there is none, and is to be none.
void SetPurgeTime(const v1::Session& session, absl::Time due, Changes& changes);

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
// Everything about the fields that only the workflow can say.
absl::Status CheckFields(const Workflow& workflow, const v1::Session& session);

}  // namespace sessiond
