#include "server/state_machine/decide.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/state_machine/filter.h"
#include "server/state_machine/lifecycle.h"
#include "server/state_machine/limits.h"
#include "server/state_machine/refusal.h"
#include "server/state_machine/struct_json.h"
#include "server/state_machine/timestamps.h"
#include "server/state_machine/update_mask.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionEvent;

Standing StandingOf(const Session& session) {
  return {.state = session.state(),
          .stage = session.stage(),
          .failed = session.has_fail_time(),
          .completed = session.has_complete_time()};
}

// -------------------------------------------------------------------------------------------------
// ledger

// Writes down facts: each Record is one change of the session and the one event that tells of it.
class Ledger {
 public:
  Ledger(const Workflow& workflow, Session session, const Command& command, absl::Time now)
      : workflow_(workflow), command_(command) {
    decision_.session = std::move(session);
    // Clocks may step back; the audit does not.
    now_ = decision_.session.has_update_time()
               ? std::max(now, FromProto(decision_.session.update_time()))
               : now;
  }

  const Session& session() const { return decision_.session; }
  absl::Time now() const { return now_; }

  using Change = absl::FunctionRef<void(Session& session, Struct& changes)>;
  void Record(SessionEvent::Type type, Change change) {
    Session& session = decision_.session;
    SessionEvent event;
    event.set_old_state(session.state());
    event.set_old_stage(session.stage());
    event.set_old_status(session.status());

    change(session, *event.mutable_changes());
    session.set_status(workflow_.StatusOf(StandingOf(session)));
    session.set_sequence(session.sequence() + 1);
    session.set_revision(session.sequence());
    *session.mutable_update_time() = ToProto(now_);

    event.set_session_id(session.session_id());
    event.set_sequence(session.sequence());
    *event.mutable_event_time() = session.update_time();
    event.set_type(type);
    event.set_new_state(session.state());
    event.set_new_stage(session.stage());
    event.set_new_status(session.status());
    event.set_caller(command_.caller);
    event.set_request_id(command_.request_id);
    std::visit(
        [&](const auto& request) {
          event.set_actor(request.actor().empty() ? command_.caller : request.actor());
          event.set_reason(request.reason());
          event.set_trigger(command_.by_timeout       ? SessionEvent::SYSTEM_TIMEOUT
                            : request.actor().empty() ? SessionEvent::API_CALL
                                                      : SessionEvent::USER_ACTION);
        },
        command_.request);
    decision_.events.push_back(std::move(event));
  }

  Decision Close() && { return std::move(decision_); }

 private:
  const Workflow& workflow_;
  const Command& command_;
  absl::Time now_;
  Decision decision_;
};

void Set(Struct& changes, absl::string_view path, Value value) {
  (*changes.mutable_fields())[std::string(path)] = std::move(value);
}

Value StructValue(const Struct& fields) {
  Value value;
  *value.mutable_struct_value() = fields;
  return value;
}

template <class V>
Value MapValue(const google::protobuf::Map<std::string, V>& map) {
  Value value;
  auto* fields = value.mutable_struct_value()->mutable_fields();
  for (const auto& [key, item] : map) {
    if constexpr (std::is_same_v<V, std::string>) {
      (*fields)[key] = StringValue(item);
    } else {
      (*fields)[key] = NumberValue(item);
    }
  }
  return value;
}

// Sets or clears purge_time, and tells of it when that changes it.
void SetPurgeTime(absl::Time due, Session& session, Struct& changes) {
  if (due == absl::InfiniteFuture()) {
    if (!session.has_purge_time()) return;
    session.clear_purge_time();
    Set(changes, "purge_time", NullValue());
  } else {
    *session.mutable_purge_time() = ToProto(due);
    Set(changes, "purge_time", StringValue(ToRfc3339(due)));
  }
}

// -------------------------------------------------------------------------------------------------
// refusals

std::string StateName(Session::State state) { return Session::State_Name(state); }

// The states, and the mark of failure, that verbs reach from here.
std::vector<std::string> Reachable(Situation situation, const Workflow& workflow) {
  std::vector<std::string> reachable;
  for (int i = 0; i < kCalls; ++i) {
    const Call call = static_cast<Call>(i);
    if (kCallFacts[i].to.empty() || (call == Call::kFail && !workflow.HasFailedStatus())) continue;
    if (VerdictOf(situation, call) == Verdict::kAccepted) reachable.emplace_back(kCallFacts[i].to);
  }
  return reachable;
}

absl::Status InvalidTransition(absl::string_view from, absl::string_view to,
                               const std::vector<std::string>& allowed,
                               absl::string_view why = "") {
  const std::string list = absl::StrJoin(allowed, ", ");
  const std::string way_out =
      allowed.empty() ? "nothing is reachable from there" : absl::StrCat("reachable: ", list);
  return Refusal(v1::INVALID_TRANSITION,
                 absl::StrCat("Cannot transition from ", from, " to ", to, why, "; ", way_out, "."))
      .With("from", from)
      .With("to", to)
      .With("allowed", absl::StrJoin(allowed, ","))
      .Precondition("TRANSITION", absl::StrCat(from, " → ", to), way_out);
}

absl::Status NotActive(const Workflow& workflow, const Session& session, Situation situation,
                       absl::string_view rpc, absl::string_view why = "") {
  std::vector<absl::string_view> accepted;
  for (int i = 0; i < kCalls; ++i) {
    const Call call = static_cast<Call>(i);
    if (call == Call::kFail && !workflow.HasFailedStatus()) continue;
    if (VerdictOf(situation, call) == Verdict::kAccepted) accepted.push_back(kCallFacts[i].rpc);
  }
  return Refusal(
             v1::SESSION_NOT_ACTIVE,
             absl::StrCat("The session is ", StateName(session.state()),
                          session.has_fail_time() ? " and failed" : "", ", and does not accept ",
                          rpc, why, "; it accepts: ", absl::StrJoin(accepted, ", "), "."))
      .With("state", StateName(session.state()))
      .With("status", session.status())
      .With("allowed", absl::StrJoin(accepted, ","))
      .Precondition("STATE", session.session_id(),
                    absl::StrCat("accepts: ", absl::StrJoin(accepted, ", ")));
}

absl::Status FieldsMissing(const std::vector<std::string>& missing, absl::string_view stage,
                           absl::string_view what) {
  Refusal refusal(v1::STAGE_FIELDS_MISSING,
                  absl::StrCat(what, " needs ", absl::StrJoin(missing, ", "), "."));
  for (const std::string& field : missing) {
    refusal.Precondition("REQUIRED_FIELD", field, "must be given");
  }
  return refusal.With("fields", absl::StrJoin(missing, ",")).With("stage", stage);
}

absl::Status ContextViolation(const Workflow& workflow, const Workflow::Violations& violations) {
  Refusal refusal(v1::CONTEXT_VIOLATION,
                  absl::StrCat(violations[0].first, " ", violations[0].second, "."));
  for (const auto& [path, wrong] : violations) refusal.Violation(path, wrong);
  return refusal.With("workflow", workflow.name()).With("field", violations[0].first);
}

// Everything about the fields that only the workflow can say.
absl::Status CheckFields(const Workflow& workflow, const Session& session) {
  Workflow::Violations violations = workflow.CheckContext(session.context());
  if (JsonBytesExceed(session.context(), kStructBytesMax)) {
    violations.emplace_back("context",
                            absl::StrCat("must be at most ", kStructBytesMax, " bytes as JSON"));
  }
  for (const auto& [name, value] : session.references()) {
    if (workflow.HasReference(name)) continue;
    violations.emplace_back(
        absl::StrCat("references.", name),
        absl::StrCat("is not a reference of workflow ", workflow.name(),
                     "; it has: ", absl::StrJoin(workflow.definition().references(), ", ")));
  }
  if (session.labels_size() > kMapEntriesMax) {
    violations.emplace_back("labels", absl::StrCat("must be at most ", kMapEntriesMax));
  }
  return violations.empty() ? absl::OkStatus() : ContextViolation(workflow, violations);
}

absl::Status CheckEtag(const Session& session, const std::string& etag) {
  if (etag.empty() || etag == EtagOf(session)) return absl::OkStatus();
  return Refusal(v1::ETAG_MISMATCH,
                 absl::StrCat("The session has changed since etag ", etag, " was read: it is ",
                              EtagOf(session), " now. Read it again, and decide anew."))
      .With("current_etag", EtagOf(session));
}

absl::Status CheckState(const Workflow& workflow, const Session& session, Call call,
                        bool force = false) {
  const Situation situation = SituationOf(session.state(), session.has_fail_time());
  const CallFacts& facts = kCallFacts[static_cast<int>(call)];
  switch (VerdictOf(situation, call)) {
    case Verdict::kAccepted:
    case Verdict::kLabelsAndHold:
      return absl::OkStatus();
    case Verdict::kWithForce:
      if (force) return absl::OkStatus();
      return InvalidTransition(StateName(session.state()), facts.to, Reachable(situation, workflow),
                               " while it is not stopped (set force to stop it first)");
    case Verdict::kNotActive:
      return NotActive(workflow, session, situation, facts.rpc);
    case Verdict::kNotDeleted:
      return Refusal(v1::NOT_DELETED, absl::StrCat("The session is not deleted; it is ",
                                                   StateName(session.state()), "."))
          .With("session_id", session.session_id())
          .With("state", StateName(session.state()))
          .Resource("session", session.session_id());
    case Verdict::kTransition:
    case Verdict::kGone:
      break;
  }
  return InvalidTransition(
      StateName(session.state()), facts.to, Reachable(situation, workflow),
      session.has_fail_time() ? " because the session is marked as failed" : "");
}

// Existence, etag and state: what every call about an existing session begins with.
absl::Status CheckBegin(const Workflow& workflow, const Aggregate& aggregate,
                        const Command& command, Call call, const std::string& etag,
                        bool force = false) {
  if (auto exists = CheckExists(command.session_id, aggregate, call == Call::kUndelete);
      !exists.ok())
    return exists;
  if (auto current = CheckEtag(*aggregate.session, etag); !current.ok()) return current;
  return CheckState(workflow, *aggregate.session, call, force);
}

// -------------------------------------------------------------------------------------------------
// the requests

// What a request asks of the state machine: which call it is and, where it is simple, nothing more.
struct Context {
  const Workflow& workflow;
  const Aggregate& aggregate;
  const Command& command;
  absl::Time now;

  Ledger Open() const { return Ledger(workflow, *aggregate.session, command, now); }
  absl::Status Begin(Call call, const std::string& etag, bool force = false) const {
    return CheckBegin(workflow, aggregate, command, call, etag, force);
  }
};

void RecordStop(Ledger& ledger, const Workflow& workflow, SessionEvent::Type type) {
  ledger.Record(type, [&](Session& session, Struct& changes) {
    session.set_state(Session::STOPPED);
    if (type == SessionEvent::COMPLETED) *session.mutable_complete_time() = ToProto(ledger.now());
    SetPurgeTime(ledger.now() + workflow.after_end(), session, changes);
  });
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::CreateSessionRequest& request) {
  const Workflow& workflow = context.workflow;
  const std::string& id = context.command.session_id;
  if (context.aggregate.session.has_value() || context.aggregate.tombstone.has_value()) {
    return Refusal(v1::SESSION_EXISTS,
                   absl::StrCat("Session already exists for this context: ", id, "."))
        .With("session_id", id)
        .Resource("session", id);
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

  Ledger ledger(workflow, Session(), context.command, context.now);
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
  const Session& session = *context.aggregate.session;
  const std::vector<std::string> missing = context.workflow.MissingFields(session, session.stage());
  if (!missing.empty())
    return FieldsMissing(missing, session.stage(), "To become ACTIVE, the session");
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::ACTIVATED,
                [](Session& session, Struct&) { session.set_state(Session::ACTIVE); });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::AdvanceSessionRequest& request) {
  if (auto begin = context.Begin(Call::kAdvance, request.etag()); !begin.ok()) return begin;
  const Session& session = *context.aggregate.session;
  const Workflow& workflow = context.workflow;
  const v1::Stage* next = workflow.NextStage(session.stage());
  if (next == nullptr || next->name() != request.target_stage()) {
    const std::vector<std::string> allowed =
        next == nullptr ? std::vector<std::string>() : std::vector<std::string>{next->name()};
    return InvalidTransition(session.stage().empty() ? "no stage" : session.stage(),
                             request.target_stage(), allowed);
  }
  const std::vector<std::string> missing = workflow.MissingFields(session, next->name());
  if (!missing.empty())
    return FieldsMissing(missing, next->name(), absl::StrCat("Stage ", next->name()));
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::ADVANCED,
                [&](Session& session, Struct&) { session.set_stage(next->name()); });
  if (workflow.IsLastStage(next->name())) RecordStop(ledger, workflow, SessionEvent::COMPLETED);
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
  const Session& session = *context.aggregate.session;
  if (!context.workflow.HasFailedStatus()) {
    return InvalidTransition(
        StateName(session.state()), "FAILED",
        Reachable(SituationOf(session.state(), false), context.workflow),
        absl::StrCat(": workflow ", context.workflow.name(), " has no failed status"));
  }
  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::FAILED, [&](Session& session, Struct& changes) {
    *session.mutable_fail_time() = ToProto(ledger.now());
    session.set_fail_reason(request.reason());
    Set(changes, "fail_time", StringValue(ToRfc3339(ledger.now())));
    Set(changes, "fail_reason", StringValue(request.reason()));
  });
  return std::move(ledger).Close();
}

absl::StatusOr<Decision> Decide(const Context& context, const v1::DeleteSessionRequest& request) {
  if (auto begin = context.Begin(Call::kDelete, request.etag(), request.force()); !begin.ok())
    return begin;
  if (context.aggregate.session->hold()) {
    return Refusal(v1::HOLD_ACTIVE,
                   "The session is held, and cannot be deleted. Take the hold off first.")
        .With("session_id", context.command.session_id)
        .Precondition("HOLD", context.command.session_id, "update hold to false first");
  }
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

// Takes one path's value over from `given`; without one the key, or the field, is removed.
void Take(const UpdatePath& path, const Session& given, Session& session, Struct& changes) {
  const auto take_map = [&](const auto& from, auto* to) {
    const auto found = from.find(path.key);
    if (found == from.end()) {
      to->erase(path.key);
      Set(changes, path.path, NullValue());
      return;
    }
    (*to)[path.key] = found->second;
    if constexpr (std::is_same_v<std::decay_t<decltype(found->second)>, Value>) {
      Set(changes, path.path, found->second);
    } else {
      Set(changes, path.path, StringValue(found->second));
    }
  };
  switch (path.field) {
    case UpdateField::kOwnerId:
      session.set_owner_id(given.owner_id());
      return Set(changes, path.path, StringValue(given.owner_id()));
    case UpdateField::kOwnerDisplayName:
      session.set_owner_display_name(given.owner_display_name());
      return Set(changes, path.path, StringValue(given.owner_display_name()));
    case UpdateField::kHold:
      session.set_hold(given.hold());
      return Set(changes, path.path, BoolValue(given.hold()));
    case UpdateField::kContext:
      if (!path.key.empty())
        return take_map(given.context().fields(), session.mutable_context()->mutable_fields());
      *session.mutable_context() = given.context();
      return Set(changes, path.path, StructValue(given.context()));
    case UpdateField::kReferences:
      if (!path.key.empty()) return take_map(given.references(), session.mutable_references());
      *session.mutable_references() = given.references();
      return Set(changes, path.path, MapValue(given.references()));
    case UpdateField::kLabels:
      if (!path.key.empty()) return take_map(given.labels(), session.mutable_labels());
      *session.mutable_labels() = given.labels();
      return Set(changes, path.path, MapValue(given.labels()));
  }
}

absl::Status CheckUpdatable(const Workflow& workflow, const Session& session,
                            const v1::UpdateSessionRequest& request,
                            const std::vector<UpdatePath>& paths) {
  const Situation situation = SituationOf(session.state(), session.has_fail_time());
  const bool labels_and_hold = VerdictOf(situation, Call::kUpdate) == Verdict::kLabelsAndHold;
  for (const UpdatePath& path : paths) {
    if (path.field == UpdateField::kOwnerId && session.state() != Session::CREATING) {
      return NotActive(workflow, session, situation, "UpdateSession",
                       " of owner_id, which is fixed once the session is active");
    }
    if (labels_and_hold && path.field != UpdateField::kLabels && path.field != UpdateField::kHold) {
      return NotActive(workflow, session, situation, "UpdateSession",
                       absl::StrCat(" of ", path.path, ", only of labels and hold"));
    }
  }
  if (labels_and_hold && !request.counter_increments().empty()) {
    return NotActive(workflow, session, situation, "UpdateSession",
                     " of counters, only of labels and hold");
  }
  return absl::OkStatus();
}

absl::Status CheckCounters(const Workflow& workflow, const Session& session,
                           const v1::UpdateSessionRequest& request) {
  Workflow::Violations violations;
  for (const auto& [name, increment] : request.counter_increments()) {
    const std::string path = absl::StrCat("counter_increments.", name);
    if (!workflow.HasCounter(name)) {
      violations.emplace_back(
          path, absl::StrCat("is not a counter of workflow ", workflow.name(),
                             "; it has: ", absl::StrJoin(workflow.definition().counters(), ", ")));
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

absl::StatusOr<Decision> Decide(const Context& context, const v1::UpdateSessionRequest& request) {
  const std::string& etag = request.etag().empty() ? request.session().etag() : request.etag();
  if (auto begin = context.Begin(Call::kUpdate, etag); !begin.ok()) return begin;
  const absl::StatusOr<std::vector<UpdatePath>> paths = ParseUpdateMask(request.update_mask());
  if (!paths.ok()) return paths.status();
  const Session& before = *context.aggregate.session;
  if (auto updatable = CheckUpdatable(context.workflow, before, request, *paths); !updatable.ok())
    return updatable;
  if (auto counters = CheckCounters(context.workflow, before, request); !counters.ok())
    return counters;

  Ledger ledger = context.Open();
  ledger.Record(SessionEvent::UPDATED, [&](Session& session, Struct& changes) {
    for (const UpdatePath& path : *paths) Take(path, request.session(), session, changes);
    for (const auto& [name, increment] : request.counter_increments()) {
      const int32_t sum = (*session.mutable_counters())[name] += increment;
      Set(changes, absl::StrCat("counters.", name), NumberValue(sum));
    }
  });
  const Session& after = ledger.session();
  if (auto fit = CheckFields(context.workflow, after); !fit.ok()) return fit;
  if (after.state() == Session::ACTIVE || after.state() == Session::PAUSED) {
    const std::vector<std::string> missing = context.workflow.MissingFields(after, after.stage());
    if (!missing.empty())
      return FieldsMissing(missing, after.stage(), absl::StrCat("Stage ", after.stage()));
  }
  return std::move(ledger).Close();
}

}  // namespace

absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now) {
  const Context context{workflow, aggregate, command, now};
  return std::visit([&](const auto& request) { return Decide(context, request); }, command.request);
}

absl::Status CheckExists(absl::string_view session_id, const Aggregate& aggregate,
                         bool include_deleted) {
  if (aggregate.session.has_value()) {
    if (include_deleted || aggregate.session->state() != Session::DELETED) return absl::OkStatus();
    const std::string when = ToRfc3339(FromProto(aggregate.session->delete_time()));
    return Refusal(v1::DELETED,
                   absl::StrCat("Session ", session_id, " was deleted at ", when,
                                ". Set include_deleted to see it, or call UndeleteSession."))
        .With("session_id", session_id)
        .With("delete_time", when)
        .Resource("session", session_id);
  }
  if (aggregate.tombstone.has_value()) {
    const std::string when = ToRfc3339(aggregate.tombstone->archive_time);
    return Refusal(v1::ARCHIVED, absl::StrCat("Session ", session_id, " was archived at ", when,
                                              "; its content is gone, its id is taken."))
        .With("session_id", session_id)
        .With("archive_time", when)
        .Resource("session", session_id);
  }
  return Refusal(v1::NEVER_EXISTED,
                 absl::StrCat("Session ", session_id, " never existed. Check the id."))
      .With("session_id", session_id)
      .Resource("session", session_id);
}

std::string EtagOf(const Session& session) { return absl::StrCat("r", session.revision()); }

void Present(const Workflow& workflow, absl::Time now, Session* session) {
  const v1::Stage* stage = workflow.FindStage(session->stage());
  session->set_stage_display_name(stage == nullptr ? "" : stage->display_name());
  const v1::Stage* next = workflow.NextStage(session->stage());
  session->set_next_stage(next == nullptr ? "" : next->name());
  session->set_recoverable(IsRecoverable(*session, now));
  session->set_etag(EtagOf(*session));
}

}  // namespace sessiond
