// Import: a session from another system, taken over as it is, with everything below it. Its
// IMPORTED event carries everything, so replaying starts there. A later import adds what an earlier
// one left out, and has an IMPORTED event of its own.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/event_facts.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::ImportSessionsRequest;
using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionMessage;
using v1::SessionTask;

namespace {

using google::protobuf::Timestamp;

// ---- times
//
// Imported times must be possible: nothing in the future, nothing before the session's or its own
// beginning, and nothing that ends with a session after that session's end.

struct EndOfTask {
  SessionTask::Status status;
  const char* field;
  std::optional<absl::Time> time;
};

std::array<EndOfTask, 3> EndsOf(const SessionTask& task) {
  return {
      {{SessionTask::COMPLETED, "complete_time",
        When(task.has_complete_time(), task.complete_time())},
       {SessionTask::FAILED, "fail_time", When(task.has_fail_time(), task.fail_time())},
       {SessionTask::CANCELLED, "cancel_time", When(task.has_cancel_time(), task.cancel_time())}}};
}

std::optional<absl::Time> EndOf(const SessionTask& task) {
  for (const EndOfTask& end : EndsOf(task)) {
    if (end.status == task.status()) return end.time;
  }
  return std::nullopt;
}

// The time for events without a date: not after the session's end, nor after what followed.
absl::Time Undated(const Session& session, absl::Time now,
                   std::optional<absl::Time> before = std::nullopt) {
  absl::Time time = std::min(now, before.value_or(now));
  if (session.has_fail_time()) time = std::min(time, FromProto(session.fail_time()));
  if (session.has_complete_time()) time = std::min(time, FromProto(session.complete_time()));
  if (session.has_delete_time()) time = std::min(time, FromProto(session.delete_time()));
  return time;
}

absl::Time StartOf(const SessionTask& task, const Session& session, absl::Time now) {
  if (task.has_start_time()) return FromProto(task.start_time());
  absl::Time before = EndOf(task).value_or(now);
  if (task.has_heartbeat_time()) before = std::min(before, FromProto(task.heartbeat_time()));
  return Undated(session, now, before);
}

absl::Time CreateTimeOf(const SessionError& error, const Session& session, absl::Time now) {
  return When(error.has_create_time(), error.create_time())
      .value_or(Undated(session, now, When(error.has_resolve_time(), error.resolve_time())));
}

// A session without a date is as old as the oldest time known of it.
absl::Time CreateTimeOf(const ImportSessionsRequest& request, absl::Time now) {
  const Session& session = request.session();
  if (session.has_create_time()) return FromProto(session.create_time());
  absl::Time first = Undated(session, now);
  if (request.has_task()) first = std::min(first, StartOf(request.task(), session, now));
  for (const SessionError& error : request.errors())
    first = std::min(first, CreateTimeOf(error, session, now));
  const auto see = [&first](bool given, const Timestamp& time) {
    first = std::min(first, When(given, time).value_or(first));
  };
  for (const SessionArtifact& artifact : request.artifacts())
    see(artifact.has_create_time(), artifact.create_time());
  for (const SessionMessage& message : request.messages())
    see(message.has_create_time(), message.create_time());
  return first;
}

// ---- checks

// Collects everything that is wrong with an imported session, not only the first problem.
class ImportCheck {
 public:
  // `links_are_checked`: errors may also link to artifacts that are not in the request.
  ImportCheck(const Workflow& workflow, const ImportSessionsRequest& request, absl::Time now,
              bool links_are_checked = false)
      : workflow_(workflow), request_(request), now_(now), links_are_checked_(links_are_checked) {
    const Session& session = request.session();
    created_ = {"session.create_time", CreateTimeOf(request, now)};
    completed_ = {"session.complete_time",
                  When(session.has_complete_time(), session.complete_time())};
    failed_ = {"session.fail_time", When(session.has_fail_time(), session.fail_time())};
    deleted_ = {"session.delete_time", When(session.has_delete_time(), session.delete_time())};
  }

  Workflow::Violations Run() {
    CheckSession(request_.session());
    if (request_.has_task()) CheckTask(request_.task());
    for (int i = 0; i < request_.artifacts_size(); ++i) {
      const SessionArtifact& artifact = request_.artifacts(i);
      const std::string path = absl::StrCat("artifacts[", i, "]");
      CheckTime({path + ".create_time", When(artifact.has_create_time(), artifact.create_time())},
                {created_}, {completed_, deleted_});
      if (artifact.artifact_id().empty()) continue;
      Unique(path + ".artifact_id", artifact.artifact_id(), &artifact_ids_);
      linkable_[artifact.kind()].insert(artifact.artifact_id());
    }
    for (int i = 0; i < request_.errors_size(); ++i)
      CheckError(request_.errors(i), absl::StrCat("errors[", i, "]"));
    for (int i = 0; i < request_.messages_size(); ++i) {
      const SessionMessage& message = request_.messages(i);
      const std::string path = absl::StrCat("messages[", i, "]");
      if (workflow_.FindMessageType(message.type()) == nullptr)
        Add(path + ".type", absl::StrCat("is not a message type of workflow ", workflow_.name()));
      if (!message.message_id().empty())
        Unique(path + ".message_id", message.message_id(), &message_ids_);
      CheckTime({path + ".create_time", When(message.has_create_time(), message.create_time())},
                {created_}, {completed_, failed_, deleted_});
    }
    return std::move(violations_);
  }

 private:
  // When something happened, if the request says so, and the field that says it.
  struct Moment {
    std::string path;
    std::optional<absl::Time> time;
  };

  void Add(std::string path, std::string wrong) {
    violations_.emplace_back(std::move(path), std::move(wrong));
  }
  void Unique(const std::string& path, const std::string& id, std::set<std::string>* seen) {
    if (!seen->insert(id).second) Add(path, "stands twice in the request");
  }
  // Nothing may be in the future, before what it follows, or after what ends it.
  void CheckTime(const Moment& moment, std::initializer_list<Moment> after,
                 std::initializer_list<Moment> until = {}) {
    if (!moment.time.has_value()) return;
    if (*moment.time > now_) return Add(moment.path, "lies in the future");
    for (const Moment& bound : after) {
      if (bound.time.has_value() && *moment.time < *bound.time)
        return Add(moment.path, absl::StrCat("lies before ", bound.path));
    }
    for (const Moment& bound : until) {
      if (bound.time.has_value() && *moment.time > *bound.time)
        return Add(moment.path, absl::StrCat("lies behind ", bound.path));
    }
  }

  void CheckSession(const Session& session) {
    CheckTime(created_, {});
    CheckTime(completed_, {created_});
    CheckTime(failed_, {created_});
    CheckTime(deleted_, {created_, completed_, failed_});
    if (!session.stage().empty() && workflow_.FindStage(session.stage()) == nullptr)
      Add("session.stage", absl::StrCat("is not a stage of workflow ", workflow_.name()));
    if (session.has_fail_time() && !workflow_.HasFailedStatus())
      Add("session.fail_time",
          absl::StrCat("cannot be: workflow ", workflow_.name(), " has no failed status"));
    if (!session.fail_reason().empty() && !session.has_fail_time())
      Add("session.fail_reason", "is only of a session with a fail_time");
    if (session.has_delete_time() && session.state() != Session::DELETED)
      Add("session.delete_time", "is only of a DELETED session");
    for (const auto& [counter, count] : session.counters()) {
      if (!workflow_.HasCounter(counter) || count < 0)
        Add(absl::StrCat("session.counters.", counter), "is not a counter of the workflow, from 0");
    }
  }

  void CheckTask(const SessionTask& task) {
    if (workflow_.FindTaskType(task.task_type()) == nullptr)
      Add("task.task_type", absl::StrCat("is not a task type of workflow ", workflow_.name()));
    if (task.status() == SessionTask::STATUS_UNSPECIFIED) Add("task.status", "is required");
    if (task.retry_count() < 0) Add("task.retry_count", "must be 0 or more");
    const Session& session = request_.session();
    const Session::State state = session.state();
    const bool lives =
        state == Session::STATE_UNSPECIFIED || state == Session::ACTIVE || state == Session::PAUSED;
    const bool over = session.has_fail_time() || session.has_complete_time() ||
                      (!session.stage().empty() && workflow_.IsLastStage(session.stage()));
    if (task.status() == SessionTask::RUNNING && (!lives || over)) {
      Add("task.status",
          "cannot be RUNNING in a session that is not ACTIVE or PAUSED, or failed, or completed");
    }
    CheckTimes(task);
  }

  void CheckTimes(const SessionTask& task) {
    const auto ends = {completed_, failed_, deleted_};
    CheckTime({"task.start_time", When(task.has_start_time(), task.start_time())}, {created_},
              ends);
    const Moment started{"task.start_time", StartOf(task, request_.session(), now_)};
    for (const EndOfTask& end : EndsOf(task)) {
      const Moment moment{absl::StrCat("task.", end.field), end.time};
      const std::string& status = SessionTask::Status_Name(end.status);
      if (end.status == task.status() && !end.time.has_value()) {
        Add(moment.path, absl::StrCat("is required of a task that is ", status));
      } else if (end.status != task.status() && end.time.has_value()) {
        Add(moment.path, absl::StrCat("is only of a task that is ", status));
      } else {
        CheckTime(moment, {started, created_}, ends);
      }
    }
    CheckTime({"task.heartbeat_time", When(task.has_heartbeat_time(), task.heartbeat_time())},
              {started, created_}, {{"the task's end", EndOf(task)}});
  }

  void CheckError(const SessionError& error, const std::string& path) {
    CheckTime({path + ".create_time", When(error.has_create_time(), error.create_time())},
              {created_}, {deleted_});
    const Moment recorded{path + ".create_time", CreateTimeOf(error, request_.session(), now_)};
    CheckTime({path + ".resolve_time", When(error.has_resolve_time(), error.resolve_time())},
              {recorded, created_}, {deleted_});
    if (!error.has_resolve_time()) {
      if (!error.resolver().empty())
        Add(path + ".resolver", "is only of an error with a resolve_time");
      if (!error.resolution().empty())
        Add(path + ".resolution", "is only of an error with a resolve_time");
    }
    if (!error.operation_stage().empty() &&
        workflow_.FindStage(error.operation_stage()) == nullptr) {
      Add(path + ".operation_stage", absl::StrCat("is not a stage of workflow ", workflow_.name()));
    }
    if (!error.error_id().empty()) Unique(path + ".error_id", error.error_id(), &error_ids_);
    CheckLink(path + ".related_file_id", error.related_file_id(), SessionArtifact::FILE);
    CheckLink(path + ".related_ticket_id", error.related_ticket_id(), SessionArtifact::TICKET);
  }
  void CheckLink(const std::string& path, const std::string& id, SessionArtifact::Kind kind) {
    if (!id.empty() && !links_are_checked_ && !linkable_[kind].contains(id))
      Add(path,
          absl::StrCat("is not among the artifacts of kind ", SessionArtifact::Kind_Name(kind)));
  }

  const Workflow& workflow_;
  const ImportSessionsRequest& request_;
  const absl::Time now_;
  const bool links_are_checked_;
  Moment created_, completed_, failed_, deleted_;
  std::set<std::string> artifact_ids_, error_ids_, message_ids_;
  // The artifacts that errors may link to.
  std::map<SessionArtifact::Kind, std::set<std::string>> linkable_;
  Workflow::Violations violations_;
};

// ---- the session

// The other fields are in the event itself.
bool IsTakenOver(absl::string_view field) {
  return field != "session_id" && field != "state" && field != "stage";
}

// In whole microseconds.
Timestamp AsStored(const Timestamp& time) { return ToProto(FromProto(time)); }

Timestamp TimeOr(bool given, const Timestamp& time, absl::Time otherwise) {
  return given ? AsStored(time) : ToProto(otherwise);
}

// The session after the import: what was given, and what follows from it.
Session Born(const Workflow& workflow, const std::string& id, const ImportSessionsRequest& request,
             absl::Time now) {
  const Session& given = request.session();
  Session session = InitialSession(workflow, id, given);
  for (const auto& [counter, count] : given.counters())
    (*session.mutable_counters())[counter] = count;
  *session.mutable_create_time() = ToProto(CreateTimeOf(request, now));

  const v1::Stage* first = workflow.FirstStage();
  session.set_stage(!given.stage().empty() ? given.stage() : first == nullptr ? "" : first->name());
  session.set_state(given.state() == Session::STATE_UNSPECIFIED ? Session::ACTIVE : given.state());
  const bool completed =
      given.has_complete_time() || (first != nullptr && workflow.IsLastStage(session.stage()));
  if (completed) {
    *session.mutable_complete_time() =
        TimeOr(given.has_complete_time(), given.complete_time(), now);
    if (session.state() != Session::DELETED) session.set_state(Session::STOPPED);
  }
  if (session.state() == Session::DELETED)
    *session.mutable_delete_time() = TimeOr(given.has_delete_time(), given.delete_time(), now);
  if (given.has_fail_time()) {
    *session.mutable_fail_time() = AsStored(given.fail_time());
    session.set_fail_reason(given.fail_reason());
  }
  if (workflow.recovery_window() != absl::InfiniteDuration()) {
    *session.mutable_recover_before_time() =
        ToProto(FromProto(session.create_time()) + workflow.recovery_window());
  }
  const absl::Duration kept = session.state() == Session::STOPPED   ? workflow.after_end()
                              : session.state() == Session::DELETED ? workflow.after_delete()
                                                                    : absl::InfiniteDuration();
  if (kept != absl::InfiniteDuration()) *session.mutable_purge_time() = ToProto(now + kept);
  session.set_message_count(request.messages_size());
  return session;
}

SessionTask TaskOf(const Workflow& workflow, EventRecorder& recorder,
                   const ImportSessionsRequest& request, const Session& session) {
  const SessionTask& given = request.task();
  SessionTask task = given;
  task.set_session_id(session.session_id());
  if (task.task_id().empty()) task.set_task_id(recorder.DrawId());
  task.set_max_retries(workflow.max_retries());
  *task.mutable_start_time() = ToProto(StartOf(given, request.session(), recorder.now()));
  // An imported running task has the usual time until its first heartbeat is due.
  const absl::Time end = EndOf(given).value_or(recorder.now());
  *task.mutable_heartbeat_time() =
      task.status() == SessionTask::RUNNING
          ? ToProto(end)
          : TimeOr(given.has_heartbeat_time(), given.heartbeat_time(), end);
  if (task.has_complete_time()) *task.mutable_complete_time() = AsStored(task.complete_time());
  if (task.has_fail_time()) *task.mutable_fail_time() = AsStored(task.fail_time());
  if (task.has_cancel_time()) *task.mutable_cancel_time() = AsStored(task.cancel_time());
  if (task.has_heartbeat_timeout()) {
    *task.mutable_heartbeat_timeout() =
        ToProto(absl::Trunc(FromProto(task.heartbeat_timeout()), absl::Milliseconds(1)));
  }
  task.clear_duration();
  task.clear_retryable();
  return task;
}

// Everything below the session, as rows, and in the changes of their event.
void TakeRows(const Workflow& workflow, const ImportSessionsRequest& request,
              const Session& session, EventRecorder& recorder, Changes& changes) {
  const absl::Time undated = Undated(request.session(), recorder.now());
  if (request.has_task())
    changes.Set("current_task", FactsOf(TaskOf(workflow, recorder, request, session)));
  for (const SessionArtifact& artifact : request.artifacts()) {
    const auto created = When(artifact.has_create_time(), artifact.create_time());
    recorder.Add(artifact, created.value_or(undated), changes);
  }
  for (const SessionError& given : request.errors()) {
    SessionError error = given;
    if (error.operation_stage().empty()) error.set_operation_stage(session.stage());
    error.clear_age();
    recorder.Add(std::move(error), CreateTimeOf(given, request.session(), recorder.now()), changes);
  }
  int32_t sequence = 0;
  for (const SessionMessage& message : request.messages()) {
    const auto created = When(message.has_create_time(), message.create_time());
    recorder.Add(message, ++sequence, created.value_or(undated));
  }
  Value history;
  for (const Struct& event : request.events())
    *history.mutable_list_value()->add_values() = StructFact(event);
  if (request.events_size() > 0) changes.Set("events", std::move(history));
}

absl::Status ChangedMeanwhile(const std::string& id) {
  return Refusal(v1::CONFLICT, absl::StrCat("Session ", id,
                                            " changed while what it misses was looked for. Send "
                                            "it again."))
      .With("session_id", id);
}

// Checks that nothing of what is missing has been added in another way since.
void CheckNew(const Aggregate& aggregate, const ImportSessionsRequest& missing,
              Workflow::Violations* violations) {
  const auto check = [violations](const std::string& path, const std::string& id, const auto& there,
                                  absl::string_view what) {
    if (there.contains(id))
      violations->emplace_back(
          path, absl::StrCat("is ", id, ", the id of ", what, " that the session has got here"));
  };
  for (int i = 0; i < missing.artifacts_size(); ++i) {
    check(absl::StrCat("artifacts[", i, "].artifact_id"), missing.artifacts(i).artifact_id(),
          aggregate.artifacts, "an artifact");
  }
  for (int i = 0; i < missing.errors_size(); ++i) {
    check(absl::StrCat("errors[", i, "].error_id"), missing.errors(i).error_id(), aggregate.errors,
          "an error");
  }
}

// Adds to the session what an earlier import left out (see import_completion.h).
absl::StatusOr<Decision> Complete(const Context& context, const ImportSessionsRequest& missing) {
  const Session& session = context.session();
  if (session.sequence() != context.command.completes)
    return ChangedMeanwhile(session.session_id());
  // Checked against the session as it is.
  ImportSessionsRequest whole = missing;
  *whole.mutable_session() = session;
  EventRecorder recorder = context.Open();
  Workflow::Violations violations =
      ImportCheck(context.workflow, whole, recorder.now(), /*links_are_checked=*/true).Run();
  CheckNew(context.aggregate, missing, &violations);
  if (!violations.empty()) return InvalidFields(violations);
  for (const auto& [counter, more] : missing.session().counters()) {
    const int64_t sum = int64_t{CounterOf(session, counter)} + more;
    if (!context.workflow.HasCounter(counter) || sum > std::numeric_limits<int32_t>::max())
      return InvalidFields({{absl::StrCat("session.counters.", counter), "would pass 2147483647"}});
  }

  const int32_t messages = missing.messages_size();
  Changes changes;
  TakeRows(context.workflow, whole, session, recorder, changes);
  if (messages > 0) changes.Set("messages", NumberValue(messages));
  recorder.Record(SessionEvent::IMPORTED, std::move(changes));
  // REQUIRES: these are the session's first messages; none can be inserted before others.
  const auto& counters = missing.session().counters();
  if (messages > 0) RecordMessages(recorder, messages, {counters.begin(), counters.end()});
  return std::move(recorder).Close();
}

}  // namespace

absl::StatusOr<Decision> Decide(const Context& context, const ImportSessionsRequest& request) {
  const Workflow& workflow = context.workflow;
  const std::string& id = context.command.session_id;
  const bool there = context.aggregate.session.has_value();
  if (there && context.command.completes > 0) return Complete(context, request);
  if (auto allowed = CheckInScope(context.command.scope, request.session()); !allowed.ok())
    return allowed;
  if (there || context.aggregate.tombstone.has_value()) return SessionExists(id);
  if (context.command.completes > 0) return ChangedMeanwhile(id);
  const Workflow::Violations violations = ImportCheck(workflow, request, context.now).Run();
  if (!violations.empty()) return InvalidFields(violations);

  EventRecorder recorder = context.Open();
  const Session born = Born(workflow, id, request, recorder.now());
  if (auto fit = CheckFields(workflow, born); !fit.ok()) return fit;
  Changes changes{.state = born.state(), .stage = born.stage()};
  Value facts = FactsOf(born);
  for (auto& [field, fact] : *facts.mutable_struct_value()->mutable_fields()) {
    if (IsTakenOver(field)) changes.Set(field, std::move(fact));
  }
  TakeRows(workflow, request, born, recorder, changes);
  recorder.Record(SessionEvent::IMPORTED, std::move(changes));
  return std::move(recorder).Close();
}

}  // namespace sessiond
