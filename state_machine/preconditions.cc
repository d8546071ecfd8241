#include "state_machine/preconditions.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/event_facts.h"
#include "state_machine/limits.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionEvent;
using v1::SessionTask;

Situation Stands(const Session& session) {
  return SituationOf(session.state(), session.has_fail_time());
}

// Whether this call can ever apply to sessions of the workflow.
bool Knows(const Workflow& workflow, Call call) {
  switch (call) {
    case Call::kFailSession:
      return workflow.HasFailedStatus();
    case Call::kStartTask:
    case Call::kReportTaskProgress:
    case Call::kCompleteTask:
    case Call::kFailTask:
    case Call::kCancelTask:
    case Call::kRetryTask:
      return !workflow.definition().task_types().empty();
    case Call::kAppendMessages:
      return !workflow.definition().message_types().empty();
    default:
      return true;
  }
}

// The states, and the mark of failure, that verbs lead to from here.
std::vector<std::string> Reachable(Situation situation, const Workflow& workflow) {
  std::vector<std::string> reachable;
  for (int i = 0; i < kCalls; ++i) {
    const Call call = static_cast<Call>(i);
    if (kCallFacts[i].to.empty() || call == Call::kRecoverSession || !Knows(workflow, call))
      continue;
    if (VerdictOf(situation, call) == Verdict::kAccepted) reachable.emplace_back(kCallFacts[i].to);
  }
  return reachable;
}

absl::Status NotRecoverable(const Session& session, absl::string_view why,
                            absl::string_view sentence) {
  Refusal refusal(v1::NOT_RECOVERABLE, absl::StrCat("The session cannot be recovered: ", sentence));
  if (why == "window" && session.has_recover_before_time())
    refusal.With("recover_before_time", ToRfc3339(FromProto(session.recover_before_time())));
  return refusal.With("session_id", session.session_id())
      .With("why", why)
      .Precondition("RECOVERABLE", session.session_id(), sentence);
}

absl::Status BlockingErrorsRefusal(const BlockingErrors& blocking, const std::string& session_id) {
  Refusal refusal(v1::BLOCKING_ERRORS,
                  absl::StrCat("The session has ", blocking.count,
                               blocking.count == 1 ? " blocking error" : " blocking errors",
                               ", and cannot go on before that is resolved (ResolveError)."));
  if (!blocking.ids.empty()) refusal.With("first_error_id", blocking.ids.front());
  return refusal.With("count", absl::StrCat(blocking.count))
      .Precondition("BLOCKING_ERRORS", session_id, "resolve them first");
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// checks

absl::Status CheckExists(absl::string_view session_id, const Aggregate& aggregate,
                         const Scope& scope, bool include_deleted) {
  if (aggregate.session.has_value() && scope.Has(*aggregate.session)) {
    if (include_deleted || aggregate.session->state() != Session::DELETED) return absl::OkStatus();
    const std::string when = ToRfc3339(FromProto(aggregate.session->delete_time()));
    return Refusal(v1::DELETED,
                   absl::StrCat("Session ", session_id, " was deleted at ", when,
                                ". Set include_deleted to see it, or call UndeleteSession."))
        .With("session_id", session_id)
        .With("delete_time", when)
        .Resource("session", session_id);
  }
  const std::optional<Tombstone>& tombstone = aggregate.tombstone;
  if (tombstone.has_value() && scope.Has(tombstone->namespace_name, tombstone->owner_id)) {
    const std::string when = ToRfc3339(tombstone->archive_time);
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

absl::Status Context::Begin(Call call, const std::string& etag, bool force) const {
  if (auto exists = CheckExists(call); !exists.ok()) return exists;
  if (auto current = CheckEtag(etag); !current.ok()) return current;
  return CheckState(call, force);
}

absl::Status Context::CheckExists(Call call) const {
  return sessiond::CheckExists(command.session_id, aggregate, command.scope,
                               call == Call::kUndeleteSession);
}

absl::Status Context::CheckEtag(const std::string& etag) const {
  const std::string current = EtagOf(session());
  if (etag.empty() || etag == current) return absl::OkStatus();
  return Refusal(v1::ETAG_MISMATCH,
                 absl::StrCat("The session has changed since etag ", etag, " was read: it is ",
                              current, " now. Read it again, and decide anew."))
      .With("current_etag", current);
}

absl::Status Context::CheckState(Call call, bool force) const {
  const Situation situation = Stands(session());
  const CallFacts& facts = kCallFacts[static_cast<int>(call)];
  const std::string state = StateName(session().state());
  switch (VerdictOf(situation, call)) {
    case Verdict::kAccepted:
    case Verdict::kLabelsAndHold:
      return absl::OkStatus();
    case Verdict::kWithForce:
      if (force) return absl::OkStatus();
      return InvalidTransition(state, facts.to, Reachable(situation, workflow),
                               " while it is not stopped (set force to stop it first)");
    case Verdict::kNotActive:
      return NotActive(workflow, session(), facts.rpc);
    case Verdict::kNotRecoverable:
      if (session().state() == Session::CREATING)
        return NotRecoverable(session(), "creating", "it is CREATING, and was never active.");
      return session().has_complete_time()
                 ? NotRecoverable(session(), "completed", "it is completed.")
                 : NotRecoverable(session(), "stopped", "it is stopped.");
    case Verdict::kNotDeleted:
      return Refusal(v1::NOT_DELETED,
                     absl::StrCat("The session is not deleted; it is ", state, "."))
          .With("session_id", session().session_id())
          .With("state", state)
          .Resource("session", session().session_id());
    case Verdict::kTransition:
    case Verdict::kGone:
      break;
  }
  return InvalidTransition(
      state, facts.to, Reachable(situation, workflow),
      session().has_fail_time() ? " because the session is marked as failed" : "");
}

std::vector<std::string> Context::ReachableStates() const {
  return Reachable(Stands(session()), workflow);
}

absl::Status Context::CheckAdvance(const std::string& stage) const {
  const v1::Stage* next = workflow.NextStage(session().stage());
  if (next == nullptr || next->name() != stage) {
    const std::vector<std::string> allowed =
        next == nullptr ? std::vector<std::string>() : std::vector<std::string>{next->name()};
    return InvalidTransition(session().stage().empty() ? "no stage" : session().stage(), stage,
                             allowed);
  }
  const std::vector<std::string> missing = workflow.MissingFields(session(), stage);
  if (!missing.empty()) return FieldsMissing(missing, stage, absl::StrCat("Stage ", stage));
  if (workflow.definition().blocking_errors_block_advance() && aggregate.blocking.count > 0)
    return BlockingErrorsRefusal(aggregate.blocking, session().session_id());
  return absl::OkStatus();
}

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
        absl::StrCat("is not a reference of workflow ", workflow.name(), "; it has",
                     workflow.definition().references().empty() ? " none" : ": ",
                     absl::StrJoin(workflow.definition().references(), ", ")));
  }
  if (session.labels_size() > kMapEntriesMax) {
    violations.emplace_back("labels", absl::StrCat("must be at most ", kMapEntriesMax));
  }
  return violations.empty() ? absl::OkStatus() : ContextViolation(workflow, violations);
}

absl::Status CheckInScope(const Scope& scope, const Session& session) {
  const std::string name = session.namespace_().empty() ? "default" : session.namespace_();
  if (scope.Has(name, session.owner_id())) return absl::OkStatus();
  if (!scope.HasNamespace(name)) {
    return Refusal(v1::NOT_ALLOWED,
                   absl::StrCat("You may not have sessions in the namespace \"", name,
                                "\": yours are ", absl::StrJoin(scope.Namespaces(), ", "),
                                ". Whoever runs the service can change that."))
        .With("namespace", name);
  }
  return Refusal(v1::NOT_ALLOWED,
                 absl::StrCat("You may only have sessions of the owner \"", *scope.owner_id(),
                              "\", and this would be one of \"", session.owner_id(),
                              "\". Whoever runs the service can change that."))
      .With("owner_id", session.owner_id());
}

// -------------------------------------------------------------------------------------------------
// facts

Session InitialSession(const Workflow& workflow, const std::string& id, const Session& given) {
  Session session;
  session.set_session_id(id);
  session.set_namespace_(given.namespace_().empty() ? "default" : given.namespace_());
  session.set_workflow(workflow.name());
  session.set_workflow_revision(workflow.revision());
  session.set_owner_id(given.owner_id());
  session.set_owner_display_name(given.owner_display_name());
  *session.mutable_context() = given.context();
  *session.mutable_references() = given.references();
  *session.mutable_labels() = given.labels();
  session.set_hold(given.hold());
  for (const std::string& counter : workflow.definition().counters())
    (*session.mutable_counters())[counter] = 0;
  return session;
}

void SetPurgeTime(const Session& session, absl::Time due, Changes& changes) {
  if (due != absl::InfiniteFuture()) {
    changes.Set("purge_time", TimeFact(due));
  } else if (session.has_purge_time()) {
    changes.Set("purge_time", NullValue());
  }
}

Value StatusFact(SessionTask::Status status) {
  return StringValue(SessionTask::Status_Name(status));
}

int32_t CounterOf(const Session& session, const std::string& name) {
  const auto found = session.counters().find(name);
  return found == session.counters().end() ? 0 : found->second;
}

void AddToCounter(const Session& session, const std::string& name, int32_t increment,
                  Changes& changes) {
  changes.Set(absl::StrCat("counters.", name), NumberValue(CounterOf(session, name) + increment));
}

void RecordAdvance(EventRecorder& recorder, const Workflow& workflow, const std::string& stage) {
  recorder.Record(SessionEvent::ADVANCED, {.stage = stage});
  if (workflow.IsLastStage(stage)) RecordStop(recorder, workflow, SessionEvent::COMPLETED);
}

void RecordStop(EventRecorder& recorder, const Workflow& workflow, SessionEvent::Type type) {
  RecordCancel(recorder);
  Changes changes{.state = Session::STOPPED};
  SetPurgeTime(recorder.session(), recorder.now() + workflow.after_end(), changes);
  recorder.Record(type, std::move(changes));
}

void RecordFail(EventRecorder& recorder, const std::string& reason) {
  RecordCancel(recorder);
  recorder.Record(
      SessionEvent::FAILED,
      Changes().Set("fail_time", TimeFact(recorder.now())).Set("fail_reason", StringValue(reason)));
}

void RecordCancel(EventRecorder& recorder) {
  if (recorder.session().current_task().status() != SessionTask::RUNNING) return;
  recorder.Record(SessionEvent::TASK_CANCELLED,
                  Changes()
                      .Set("current_task.status", StatusFact(SessionTask::CANCELLED))
                      .Set("current_task.cancel_time", TimeFact(recorder.now())));
}

// -------------------------------------------------------------------------------------------------
// refusals

std::string StateName(Session::State state) { return Session::State_Name(state); }

absl::Status InvalidTransition(absl::string_view from, absl::string_view to,
                               const std::vector<std::string>& allowed, absl::string_view why) {
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

absl::Status NotActive(const Workflow& workflow, const Session& session, absl::string_view rpc,
                       absl::string_view why) {
  std::vector<absl::string_view> accepted;
  for (int i = 0; i < kCalls; ++i) {
    if (!Knows(workflow, static_cast<Call>(i))) continue;
    const Verdict verdict = VerdictOf(Stands(session), static_cast<Call>(i));
    if (verdict == Verdict::kAccepted || verdict == Verdict::kWithForce ||
        verdict == Verdict::kLabelsAndHold) {
      accepted.push_back(kCallFacts[i].rpc);
    }
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

absl::Status InvalidFields(const Workflow::Violations& violations) {
  Refusal refusal(v1::INVALID_FIELD,
                  absl::StrCat(violations[0].first, " ", violations[0].second, "."));
  for (const auto& [path, wrong] : violations) refusal.Violation(path, wrong);
  return refusal.With("field", violations[0].first);
}

absl::Status SessionExists(const std::string& session_id) {
  return Refusal(v1::SESSION_EXISTS,
                 absl::StrCat("Session already exists for this context: ", session_id, "."))
      .With("session_id", session_id)
      .Resource("session", session_id);
}

absl::Status TaskNotFound(const std::string& session_id) {
  return Refusal(v1::TASK_NOT_FOUND,
                 absl::StrCat("Session ", session_id, " never had a task. Start one (StartTask)."))
      .With("session_id", session_id)
      .Resource("task", session_id);
}

absl::Status TaskAlreadyRunning(const SessionTask& task, absl::string_view way_out) {
  return Refusal(v1::TASK_ALREADY_RUNNING,
                 absl::StrCat("A ", task.task_type(), " task runs in the session. ", way_out))
      .With("task_id", task.task_id())
      .With("task_type", task.task_type())
      .Precondition("TASK", task.task_id(), "wait for its end, or cancel it");
}

absl::Status WindowIsOver(const Session& session) {
  return NotRecoverable(session, "window", "its recovery window is over.");
}

absl::Status HoldActive(const std::string& session_id, absl::string_view what) {
  return Refusal(v1::HOLD_ACTIVE, absl::StrCat("The session is held, and cannot be ", what,
                                               ". Take the hold off first."))
      .With("session_id", session_id)
      .Precondition("HOLD", session_id, "update hold to false first");
}

}  // namespace sessiond
