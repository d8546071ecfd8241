// The session itself: from its creation through its life and its stages to its end.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/event_facts.h"
#include "state_machine/filter.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"
#include "state_machine/update_mask.h"

namespace sessiond {

using v1::Session;
using v1::SessionEvent;
using v1::SessionTask;

// -------------------------------------------------------------------------------------------------
// life and stages

absl::StatusOr<Decision> Decide(const Context& context, const v1::CreateSessionRequest& request) {
  const Workflow& workflow = context.workflow;
  const std::string& id = context.command.session_id;
  Session born = InitialSession(workflow, id, request.session());
  // Who is held to one owner creates sessions of that owner.
  if (born.owner_id().empty()) born.set_owner_id(context.command.scope.owner_id().value_or(""));
  if (auto allowed = CheckInScope(context.command.scope, born); !allowed.ok()) return allowed;
  if (context.aggregate.session.has_value() || context.aggregate.tombstone.has_value()) {
    return SessionExists(id);
  }
  if (auto fit = CheckFields(workflow, born); !fit.ok()) return fit;
  const v1::Stage* first = workflow.FirstStage();
  const std::string stage = first == nullptr ? "" : first->name();
  if (!request.creating()) {
    const std::vector<std::string> missing = workflow.MissingFields(born, stage);
    if (!missing.empty())
      return FieldsMissing(missing, stage, absl::StrCat("A session of workflow ", workflow.name()));
  }

  EventRecorder recorder = context.Open();
  Changes changes{.state = request.creating() ? Session::CREATING : Session::ACTIVE,
                  .stage = stage};
  for (const char* field :
       {"namespace", "workflow", "workflow_revision", "owner_id", "owner_display_name", "context",
        "counters", "references", "labels", "hold"}) {
    changes.Set(field, FactAt(field, born));
  }
  if (workflow.recovery_window() != absl::InfiniteDuration())
    changes.Set("recover_before_time", TimeFact(recorder.now() + workflow.recovery_window()));
  recorder.Record(SessionEvent::CREATED, std::move(changes));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::ActivateSessionRequest& request) {
  if (auto begin = context.Begin(Call::kActivateSession, request.etag()); !begin.ok()) return begin;
  const std::vector<std::string> missing =
      context.workflow.MissingFields(context.session(), context.session().stage());
  if (!missing.empty())
    return FieldsMissing(missing, context.session().stage(), "To become ACTIVE, the session");
  EventRecorder recorder = context.Open();
  recorder.Record(SessionEvent::ACTIVATED, {.state = Session::ACTIVE});
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::AdvanceSessionRequest& request) {
  if (auto begin = context.Begin(Call::kAdvanceSession, request.etag()); !begin.ok()) return begin;
  const SessionTask& task = context.session().current_task();
  if (task.status() == SessionTask::RUNNING) {
    return TaskAlreadyRunning(task,
                              "The call that completes it can carry the stage (advance_to_stage).");
  }
  if (auto can = context.CheckAdvance(request.target_stage()); !can.ok()) return can;
  EventRecorder recorder = context.Open();
  RecordAdvance(recorder, context.workflow, request.target_stage());
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::PauseSessionRequest& request) {
  if (auto begin = context.Begin(Call::kPauseSession, request.etag()); !begin.ok()) return begin;
  EventRecorder recorder = context.Open();
  recorder.Record(SessionEvent::PAUSED, {.state = Session::PAUSED});
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::ResumeSessionRequest& request) {
  if (auto begin = context.Begin(Call::kResumeSession, request.etag()); !begin.ok()) return begin;
  EventRecorder recorder = context.Open();
  recorder.Record(SessionEvent::RESUMED, {.state = Session::ACTIVE});
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::StopSessionRequest& request) {
  if (auto begin = context.Begin(Call::kStopSession, request.etag()); !begin.ok()) return begin;
  EventRecorder recorder = context.Open();
  RecordStop(recorder, context.workflow, SessionEvent::STOPPED);
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::FailSessionRequest& request) {
  if (auto begin = context.Begin(Call::kFailSession, request.etag()); !begin.ok()) return begin;
  if (!context.workflow.HasFailedStatus()) {
    return InvalidTransition(
        StateName(context.session().state()), "FAILED", context.ReachableStates(),
        absl::StrCat(": workflow ", context.workflow.name(), " has no failed status"));
  }
  EventRecorder recorder = context.Open();
  RecordFail(recorder, request.reason());
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::RecoverSessionRequest& request) {
  if (auto begin = context.Begin(Call::kRecoverSession, request.etag()); !begin.ok()) return begin;
  EventRecorder recorder = context.Open();
  if (!IsRecoverable(context.session(), recorder.now())) return WindowIsOver(context.session());
  Changes changes{.state = Session::ACTIVE};
  if (recorder.session().has_fail_time())
    changes.Set("fail_time", NullValue()).Set("fail_reason", NullValue());
  if (recorder.session().current_task().status() == SessionTask::FAILED)
    changes.Set("current_task.retry_count", NumberValue(0));
  recorder.Record(SessionEvent::RECOVERED, std::move(changes));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::DeleteSessionRequest& request) {
  if (auto begin = context.Begin(Call::kDeleteSession, request.etag(), request.force());
      !begin.ok())
    return begin;
  if (context.session().hold()) return HoldActive(context.command.session_id, "deleted");
  EventRecorder recorder = context.Open();
  const Session::State state = recorder.session().state();
  if (state == Session::ACTIVE || state == Session::PAUSED) {
    RecordStop(recorder, context.workflow, SessionEvent::STOPPED);
  }
  Changes changes{.state = Session::DELETED};
  SetPurgeTime(recorder.session(), recorder.now() + context.workflow.after_delete(), changes);
  recorder.Record(SessionEvent::DELETED, std::move(changes));
  return std::move(recorder).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::UndeleteSessionRequest& request) {
  if (auto begin = context.Begin(Call::kUndeleteSession, request.etag()); !begin.ok()) return begin;
  EventRecorder recorder = context.Open();
  Changes changes{.state = Session::STOPPED};
  // Counted from now, so that a restored session is not purged at once.
  SetPurgeTime(recorder.session(), recorder.now() + context.workflow.after_end(), changes);
  recorder.Record(SessionEvent::UNDELETED, std::move(changes));
  return std::move(recorder).Close();
}

// -------------------------------------------------------------------------------------------------
// fields

namespace {

absl::Status CheckUpdatable(const Workflow& workflow, const Session& session,
                            const v1::UpdateSessionRequest& request,
                            const std::vector<UpdatePath>& paths) {
  const Situation situation = SituationOf(session.state(), session.has_fail_time());
  const bool labels_and_hold =
      VerdictOf(situation, Call::kUpdateSession) == Verdict::kLabelsAndHold;
  for (const UpdatePath& path : paths) {
    if (path.field == UpdateField::kOwnerId && session.state() != Session::CREATING) {
      return NotActive(workflow, session, "UpdateSession",
                       " of owner_id, which is fixed once the session is active");
    }
    if (labels_and_hold && path.field != UpdateField::kLabels && path.field != UpdateField::kHold) {
      return NotActive(workflow, session, "UpdateSession",
                       absl::StrCat(" of ", path.path, ", only of labels and hold"));
    }
  }
  if (labels_and_hold && !request.counter_increments().empty()) {
    return NotActive(workflow, session, "UpdateSession", " of counters, only of labels and hold");
  }
  return absl::OkStatus();
}

// Fields that the present stage requires and that a change would remove. A field that was missing
// before, in a session that was imported without it, is no reason to refuse a change of another
// field.
std::vector<std::string> NewlyMissing(const Workflow& workflow, const Session& before,
                                      const Session& after) {
  std::vector<std::string> missing = workflow.MissingFields(after, after.stage());
  if (missing.empty()) return missing;
  const std::vector<std::string> known = workflow.MissingFields(before, before.stage());
  missing.erase(std::remove_if(missing.begin(), missing.end(),
                               [&](const std::string& field) {
                                 return std::find(known.begin(), known.end(), field) != known.end();
                               }),
                missing.end());
  return missing;
}

// Whether the fields are valid as given: null is not a valid value, but in a change it removes the
// key.
absl::Status CheckUpdated(const Workflow& workflow, const Session& after, const Session& given,
                          const std::vector<UpdatePath>& paths) {
  const auto is_null = [&](const UpdatePath& path) {
    const auto found = given.context().fields().find(path.key);
    return path.field == UpdateField::kContext && found != given.context().fields().end() &&
           found->second.has_null_value();
  };
  if (std::none_of(paths.begin(), paths.end(), is_null)) return CheckFields(workflow, after);
  Session as_given = after;
  for (const UpdatePath& path : paths) {
    if (is_null(path)) (*as_given.mutable_context()->mutable_fields())[path.key] = NullValue();
  }
  return CheckFields(workflow, as_given);
}

absl::Status CheckCounters(const Workflow& workflow, const Session& session,
                           const v1::UpdateSessionRequest& request) {
  Workflow::Violations violations;
  for (const auto& [name, increment] : request.counter_increments()) {
    const std::string path = absl::StrCat("counter_increments.", name);
    if (!workflow.HasCounter(name)) {
      violations.emplace_back(
          path, absl::StrCat("is not a counter of workflow ", workflow.name(), "; it has",
                             workflow.definition().counters().empty() ? " none" : ": ",
                             absl::StrJoin(workflow.definition().counters(), ", ")));
      continue;
    }
    const int64_t sum = int64_t{CounterOf(session, name)} + increment;
    if (sum < 0 || sum > std::numeric_limits<int32_t>::max()) {
      violations.emplace_back(
          path, absl::StrCat("would make the counter ", sum, ", outside of 0 to 2147483647"));
    }
  }
  return violations.empty() ? absl::OkStatus() : ContextViolation(workflow, violations);
}

}  // namespace

absl::StatusOr<Decision> Decide(const Context& context, const v1::UpdateSessionRequest& request) {
  const std::string& etag = request.etag().empty() ? request.session().etag() : request.etag();
  if (auto begin = context.Begin(Call::kUpdateSession, etag); !begin.ok()) return begin;
  const absl::StatusOr<std::vector<UpdatePath>> paths = ParseUpdateMask(request.update_mask());
  if (!paths.ok()) return paths.status();
  const Session& before = context.session();
  if (auto updatable = CheckUpdatable(context.workflow, before, request, *paths); !updatable.ok())
    return updatable;
  if (auto counters = CheckCounters(context.workflow, before, request); !counters.ok())
    return counters;

  Changes changes;
  for (const UpdatePath& path : *paths)
    changes.Set(path.path, FactAt(path.path, request.session()));
  for (const auto& [name, increment] : request.counter_increments())
    AddToCounter(before, name, increment, changes);
  EventRecorder recorder = context.Open();
  recorder.Record(SessionEvent::UPDATED, std::move(changes));
  const Session& after = recorder.session();
  if (auto fit = CheckUpdated(context.workflow, after, request.session(), *paths); !fit.ok())
    return fit;
  if (after.state() == Session::ACTIVE || after.state() == Session::PAUSED) {
    const std::vector<std::string> removed = NewlyMissing(context.workflow, before, after);
    if (!removed.empty())
      return FieldsMissing(removed, after.stage(), absl::StrCat("Stage ", after.stage()));
  }
  return std::move(recorder).Close();
}

}  // namespace sessiond
