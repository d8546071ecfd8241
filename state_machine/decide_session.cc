// The session itself: from its creation through its life and its stages to its end.
#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/deciding.h"
#include "state_machine/filter.h"
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
  if (context.aggregate.session.has_value() || context.aggregate.tombstone.has_value()) {
    return SessionExists(id);
  }
  Session born;
  born.set_session_id(id);
  born.set_namespace_(request.session().namespace_().empty() ? "default"
                                                             : request.session().namespace_());
  born.set_workflow(workflow.name());
  born.set_workflow_revision(workflow.revision());
  born.set_owner_id(request.session().owner_id());
  born.set_owner_display_name(request.session().owner_display_name());
  *born.mutable_context() = request.session().context();
  *born.mutable_references() = request.session().references();
  *born.mutable_labels() = request.session().labels();
  born.set_hold(request.session().hold());
  for (const std::string& counter : workflow.definition().counters())
    (*born.mutable_counters())[counter] = 0;
  if (auto fit = CheckFields(workflow, born); !fit.ok()) return fit;
  const v1::Stage* first = workflow.FirstStage();
  const std::string stage = first == nullptr ? "" : first->name();
  if (!request.creating()) {
    const std::vector<std::string> missing = workflow.MissingFields(born, stage);
    if (!missing.empty())
      return FieldsMissing(missing, stage, absl::StrCat("A session of workflow ", workflow.name()));
  }

  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::CREATED, [&](Session& session, Struct& changes) {
    session = std::move(born);
    session.set_state(request.creating() ? Session::CREATING : Session::ACTIVE);
    session.set_stage(stage);
    *session.mutable_create_time() = ToProto(ledger.now());
    Set(changes, "namespace", StringValue(session.namespace_()));
    Set(changes, "workflow", StringValue(session.workflow()));
    Set(changes, "workflow_revision", NumberValue(session.workflow_revision()));
    Set(changes, "owner_id", StringValue(session.owner_id()));
    Set(changes, "owner_display_name", StringValue(session.owner_display_name()));
    Set(changes, "context", StructValue(session.context()));
    Set(changes, "counters", MapValue(session.counters()));
    Set(changes, "references", MapValue(session.references()));
    Set(changes, "labels", MapValue(session.labels()));
    Set(changes, "hold", BoolValue(session.hold()));
    if (workflow.recovery_window() != absl::InfiniteDuration()) {
      const absl::Time end = ledger.now() + workflow.recovery_window();
      *session.mutable_recover_before_time() = ToProto(end);
      Set(changes, "recover_before_time", StringValue(ToRfc3339(end)));
    }
  });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::ActivateSessionRequest& request) {
  if (auto begin = context.Begin(Call::kActivate, request.etag()); !begin.ok()) return begin;
  const std::vector<std::string> missing =
      context.workflow.MissingFields(context.session(), context.session().stage());
  if (!missing.empty())
    return FieldsMissing(missing, context.session().stage(), "To become ACTIVE, the session");
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::ACTIVATED,
                [](Session& session, Struct&) { session.set_state(Session::ACTIVE); });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::AdvanceSessionRequest& request) {
  if (auto begin = context.Begin(Call::kAdvance, request.etag()); !begin.ok()) return begin;
  const SessionTask& task = context.session().current_task();
  if (task.status() == SessionTask::RUNNING) {
    return TaskAlreadyRunning(task,
                              "The call that completes it can carry the stage (advance_to_stage).");
  }
  if (auto can = context.CheckAdvance(request.target_stage()); !can.ok()) return can;
  Ledger ledger = context.Open();
  RecordAdvance(ledger, context.workflow, request.target_stage());
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::PauseSessionRequest& request) {
  if (auto begin = context.Begin(Call::kPause, request.etag()); !begin.ok()) return begin;
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::PAUSED,
                [](Session& session, Struct&) { session.set_state(Session::PAUSED); });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::ResumeSessionRequest& request) {
  if (auto begin = context.Begin(Call::kResume, request.etag()); !begin.ok()) return begin;
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::RESUMED,
                [](Session& session, Struct&) { session.set_state(Session::ACTIVE); });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::StopSessionRequest& request) {
  if (auto begin = context.Begin(Call::kStop, request.etag()); !begin.ok()) return begin;
  Ledger ledger = context.Open();
  RecordStop(ledger, context.workflow, SessionEvent::STOPPED);
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::FailSessionRequest& request) {
  if (auto begin = context.Begin(Call::kFail, request.etag()); !begin.ok()) return begin;
  if (!context.workflow.HasFailedStatus()) {
    return InvalidTransition(
        StateName(context.session().state()), "FAILED", context.ReachableStates(),
        absl::StrCat(": workflow ", context.workflow.name(), " has no failed status"));
  }
  Ledger ledger = context.Open();
  RecordFail(ledger, request.reason());
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::RecoverSessionRequest& request) {
  if (auto begin = context.Begin(Call::kRecover, request.etag()); !begin.ok()) return begin;
  Ledger ledger = context.Open();
  if (!IsRecoverable(context.session(), ledger.now())) return WindowIsOver(context.session());
  ledger.Record(SessionEvent::RECOVERED, [&](Session& session, Struct& changes) {
    session.set_state(Session::ACTIVE);
    if (session.has_fail_time()) {
      session.clear_fail_time();
      session.clear_fail_reason();
      Set(changes, "fail_time", NullValue());
      Set(changes, "fail_reason", NullValue());
    }
    if (session.current_task().status() == SessionTask::FAILED) {
      session.mutable_current_task()->set_retry_count(0);
      Set(changes, "current_task.retry_count", NumberValue(0));
      ledger.decision().task_changed = true;
    }
  });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::DeleteSessionRequest& request) {
  if (auto begin = context.Begin(Call::kDelete, request.etag(), request.force()); !begin.ok())
    return begin;
  if (context.session().hold()) return HoldActive(context.command.session_id, "deleted");
  Ledger ledger = context.Open();
  const Session::State state = ledger.session().state();
  if (state == Session::ACTIVE || state == Session::PAUSED) {
    RecordStop(ledger, context.workflow, SessionEvent::STOPPED);
  }
  ledger.Record(SessionEvent::DELETED, [&](Session& session, Struct& changes) {
    session.set_state(Session::DELETED);
    *session.mutable_delete_time() = ToProto(ledger.now());
    SetPurgeTime(ledger.now() + context.workflow.after_delete(), session, changes);
  });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::UndeleteSessionRequest& request) {
  if (auto begin = context.Begin(Call::kUndelete, request.etag()); !begin.ok()) return begin;
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::UNDELETED, [&](Session& session, Struct& changes) {
    session.set_state(Session::STOPPED);
    session.clear_delete_time();
    // Counted anew, so that what was brought back is not purged at once.
    SetPurgeTime(ledger.now() + context.workflow.after_end(), session, changes);
  });
  return std::move(ledger).Close();
}

// -------------------------------------------------------------------------------------------------
// fields

namespace {

template <class Map>
void TakeMap(const std::string& key, const Map& given, Map* map) {
  if (key.empty()) {
    *map = given;
  } else if (const auto found = given.find(key); found != given.end()) {
    (*map)[key] = found->second;
  } else {
    map->erase(key);
  }
}

// Takes one path's value over from `given`; without one the key, or the field, is removed.
void Take(const UpdatePath& path, const Session& given, Session& session) {
  switch (path.field) {
    case UpdateField::kOwnerId:
      return session.set_owner_id(given.owner_id());
    case UpdateField::kOwnerDisplayName:
      return session.set_owner_display_name(given.owner_display_name());
    case UpdateField::kHold:
      return session.set_hold(given.hold());
    case UpdateField::kContext:
      return TakeMap(path.key, given.context().fields(),
                     session.mutable_context()->mutable_fields());
    case UpdateField::kReferences:
      return TakeMap(path.key, given.references(), session.mutable_references());
    case UpdateField::kLabels:
      return TakeMap(path.key, given.labels(), session.mutable_labels());
  }
}

template <class Map>
Value EntryAt(const std::string& key, const Map& map) {
  const auto found = map.find(key);
  if (found == map.end()) return NullValue();
  if constexpr (std::is_same_v<std::decay_t<decltype(found->second)>, Value>) {
    return found->second;
  } else {
    return StringValue(found->second);
  }
}

// What a path holds; null for a key that is not there.
Value ValueAt(const UpdatePath& path, const Session& session) {
  const bool whole = path.key.empty();
  switch (path.field) {
    case UpdateField::kOwnerId:
      return StringValue(session.owner_id());
    case UpdateField::kOwnerDisplayName:
      return StringValue(session.owner_display_name());
    case UpdateField::kHold:
      return BoolValue(session.hold());
    case UpdateField::kContext:
      return whole ? StructValue(session.context()) : EntryAt(path.key, session.context().fields());
    case UpdateField::kReferences:
      return whole ? MapValue(session.references()) : EntryAt(path.key, session.references());
    case UpdateField::kLabels:
      return whole ? MapValue(session.labels()) : EntryAt(path.key, session.labels());
  }
  return NullValue();
}

absl::Status CheckUpdatable(const Workflow& workflow, const Session& session,
                            const v1::UpdateSessionRequest& request,
                            const std::vector<UpdatePath>& paths) {
  const Situation situation = SituationOf(session.state(), session.has_fail_time());
  const bool labels_and_hold = VerdictOf(situation, Call::kUpdate) == Verdict::kLabelsAndHold;
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

// What the present stage requires and a change would remove. What was not there before, in a
// session that was imported without it, is no reason to refuse a change of something else.
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
    const auto found = session.counters().find(name);
    const int64_t sum = int64_t{found == session.counters().end() ? 0 : found->second} + increment;
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
  if (auto begin = context.Begin(Call::kUpdate, etag); !begin.ok()) return begin;
  const absl::StatusOr<std::vector<UpdatePath>> paths = ParseUpdateMask(request.update_mask());
  if (!paths.ok()) return paths.status();
  const Session& before = context.session();
  if (auto updatable = CheckUpdatable(context.workflow, before, request, *paths); !updatable.ok())
    return updatable;
  if (auto counters = CheckCounters(context.workflow, before, request); !counters.ok())
    return counters;

  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::UPDATED, [&](Session& session, Struct& changes) {
    for (const UpdatePath& path : *paths) {
      ledger.Before(path.path, ValueAt(path, before));
      Take(path, request.session(), session);
      Set(changes, path.path, ValueAt(path, session));
    }
    for (const auto& [name, increment] : request.counter_increments())
      AddToCounter(ledger, name, increment, session, changes);
  });
  const Session& after = ledger.session();
  if (auto fit = CheckFields(context.workflow, after); !fit.ok()) return fit;
  if (after.state() == Session::ACTIVE || after.state() == Session::PAUSED) {
    const std::vector<std::string> removed = NewlyMissing(context.workflow, before, after);
    if (!removed.empty())
      return FieldsMissing(removed, after.stage(), absl::StrCat("Stage ", after.stage()));
  }
  return std::move(ledger).Close();
}

}  // namespace sessiond
