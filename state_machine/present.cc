#include "state_machine/present.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "state_machine/filter.h"
#include "state_machine/timestamps.h"

namespace sessiond {

using v1::Session;
using v1::SessionError;
using v1::SessionTask;

std::string EtagOf(int32_t revision) { return absl::StrCat("r", revision); }

std::string EtagOf(const Session& session) { return EtagOf(session.revision()); }

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
