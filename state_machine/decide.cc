#include "state_machine/decide.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "state_machine/filter.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::Session;
using v1::SessionError;
using v1::SessionTask;

absl::StatusOr<Decision> Decide(const Workflow& workflow, const Aggregate& aggregate,
                                const Command& command, absl::Time now) {
  const Context context{workflow, aggregate, command, now};
  auto decision =
      std::visit([&](const auto& request) { return Decide(context, request); }, command.request);
  // Nobody moves a session to where they cannot see it.
  if (decision.ok() && decision->end == Decision::End::kNone) {
    if (auto allowed = CheckInScope(command.scope, decision->session); !allowed.ok())
      return allowed;
  }
  return decision;
}

void Apply(Decision& decision, Aggregate* aggregate) {
  if (decision.end != Decision::End::kNone) {
    Tombstone tombstone{.archive_time = FromProto(decision.session.update_time())};
    if (aggregate->session.has_value()) {
      tombstone.namespace_name = aggregate->session->namespace_();
      if (decision.end == Decision::End::kArchived)
        tombstone.owner_id = aggregate->session->owner_id();
    }
    *aggregate = Aggregate{.tombstone = std::move(tombstone)};
    return;
  }
  if (decision.task_changed) aggregate->used_ids.insert(decision.session.current_task().task_id());
  aggregate->session = std::move(decision.session);
  aggregate->blocking = std::move(decision.blocking);
  for (const NewMessage& message : decision.messages) {
    if (message.id_brought) aggregate->used_ids.insert(message.message.message_id());
  }
  for (SessionError& error : decision.errors) {
    const std::string id = error.error_id();
    aggregate->errors[id] = std::move(error);
  }
  for (auto& artifact : decision.artifacts) {
    const std::string id = artifact.artifact_id();
    aggregate->artifacts[id] = std::move(artifact);
  }
  for (const std::string& id : decision.deleted_artifacts) {
    aggregate->artifacts.erase(id);
    for (auto& [error_id, error] : aggregate->errors) {
      if (error.related_file_id() == id) error.clear_related_file_id();
      if (error.related_ticket_id() == id) error.clear_related_ticket_id();
    }
  }
}

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

std::string EtagOf(const Session& session) { return absl::StrCat("r", session.revision()); }

void Present(const Workflow& workflow, absl::Time now, Session* session) {
  const v1::Stage* stage = workflow.FindStage(session->stage());
  session->set_stage_display_name(stage == nullptr ? "" : stage->display_name());
  const v1::Stage* next = workflow.NextStage(session->stage());
  session->set_next_stage(next == nullptr ? "" : next->name());
  session->set_recoverable(IsRecoverable(*session, now));
  session->set_etag(EtagOf(*session));
  if (session->has_current_task()) Present(now, session->mutable_current_task());
}

namespace {

// Nothing when no end is known.
std::optional<absl::Time> EndOf(const SessionTask& task) {
  if (task.has_complete_time()) return FromProto(task.complete_time());
  if (task.has_fail_time()) return FromProto(task.fail_time());
  if (task.has_cancel_time()) return FromProto(task.cancel_time());
  return std::nullopt;
}

}  // namespace

absl::Time PresentedUntil(const Session& session) {
  const SessionTask& task = session.current_task();
  const bool ended = task.status() != SessionTask::RUNNING && EndOf(task).has_value();
  if (session.has_current_task() && !ended) return absl::InfinitePast();
  if (session.recoverable()) return FromProto(session.recover_before_time());
  return absl::InfiniteFuture();
}

void Present(absl::Time now, SessionTask* task) {
  // The daemon's clock may be behind the database's.
  const absl::Duration duration = EndOf(*task).value_or(now) - FromProto(task->start_time());
  *task->mutable_duration() = ToProto(std::max(duration, absl::ZeroDuration()));
  task->set_retryable(task->status() == SessionTask::FAILED &&
                      task->retry_count() < task->max_retries());
}

void Present(absl::Time now, SessionError* error) {
  const absl::Duration age = now - FromProto(error->create_time());
  *error->mutable_age() = ToProto(std::max(age, absl::ZeroDuration()));
}

}  // namespace sessiond
