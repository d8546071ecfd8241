#include "server/ops/journal.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/ops/log.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::SessionEvent;

// Names as in the data.
std::string Lower(v1::Session::State state) {
  return state == v1::Session::STATE_UNSPECIFIED
             ? ""
             : absl::AsciiStrToLower(v1::Session::State_Name(state));
}

bool IsEnd(const SessionEvent& event) {
  return event.type() == SessionEvent::ARCHIVED || event.type() == SessionEvent::ERASED;
}

std::string OrDash(absl::string_view text) { return text.empty() ? "-" : FreeText(text); }

std::string Minutes(const v1::SessionTask& task) {
  return absl::StrFormat("%.1f", absl::ToDoubleMinutes(FromProto(task.duration())));
}

int64_t DaysBetween(const google::protobuf::Timestamp& begin,
                    const google::protobuf::Timestamp& end) {
  return (FromProto(end) - FromProto(begin)) / absl::Hours(24);
}

void TaskFailed(const v1::SessionTask& task, const SessionEvent& event) {
  // The session may have been recovered, or its task retried, since: the event has the value.
  const auto retries = event.changes().fields().find("current_task.retry_count");
  const int count = retries == event.changes().fields().end()
                        ? task.retry_count()
                        : static_cast<int>(retries->second.number_value());
  const std::string sentence =
      absl::StrCat("SessionTask ", task.task_type(), " failed for session ", event.session_id(),
                   ", retry #", count);
  std::vector<std::string> keys;
  for (const auto& [key, value] : task.failure_context().fields()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  Log(LogLevel::kWarn, "task", sentence, {{"task_id", task.task_id()}});
  Log(LogLevel::kWarn, "audit", sentence,
      {{"task_id", task.task_id()}, {"context", absl::StrJoin(keys, ",")}});
}

void ErrorRecorded(const SessionEvent& event, const db::Outcome& outcome) {
  for (const v1::SessionError& error : outcome.errors) {
    if (!event.changes().fields().contains(absl::StrCat("errors.", error.error_id()))) continue;
    const std::string category =
        absl::AsciiStrToLower(v1::SessionError::Category_Name(error.category()));
    Log(LogLevel::kInfo, "error",
        absl::StrCat("SessionError created for session ", event.session_id(), ": ", category, " - ",
                     FreeText(error.user_message())),
        {{"error_id", error.error_id()}});
    if (!LogEnabled(LogLevel::kDebug, "error")) continue;
    Log(LogLevel::kDebug, "error",
        absl::StrCat("Error linked to ", OrDash(error.operation_stage()),
                     " stage, file: ", OrDash(error.related_file_id()),
                     ", ticket: ", OrDash(error.related_ticket_id())));
  }
}

LogLevel LevelOf(v1::ErrorReason reason) {
  switch (reason) {
    case v1::INVALID_TRANSITION:
      return LogLevel::kWarn;
    case v1::CONSTRAINT_VIOLATION:
    case v1::SCHEMA_MISMATCH:
      return LogLevel::kError;
    case v1::DATABASE_UNAVAILABLE:
    case v1::LOCK_TIMEOUT:
    case v1::OVERLOADED:
      return LogLevel::kWarn;
    default:
      return LogLevel::kInfo;  // Callers' mistakes are no alarm of ours.
  }
}

}  // namespace

void Journal::Moved(absl::string_view kind, const v1::Session& session, absl::string_view from,
                    absl::string_view to) {
  metrics_.Transition(kind, from, to);
  if (from.empty() || !LogEnabled(LogLevel::kInfo, "session")) return;
  Log(LogLevel::kInfo, "session",
      absl::StrCat("Session ", session.session_id(), " transitioned from ", from, " to ", to,
                   " for user ", FreeText(session.owner_id())),
      {{"kind", kind}, {"workflow", session.workflow()}});
}

void Journal::Changed(const db::Outcome& outcome) {
  for (const SessionEvent& event : outcome.events) {
    LogEvent(event, outcome);
    if (IsEnd(event)) continue;
    const v1::Session& session = outcome.session;
    if (event.old_state() != event.new_state())
      Moved("state", session, Lower(event.old_state()), Lower(event.new_state()));
    if (event.old_stage() != event.new_stage())
      Moved("stage", session, event.old_stage(), event.new_stage());
    if (event.old_status() != event.new_status())
      metrics_.Transition("status", event.old_status(), event.new_status());
  }
}

// The sentence for a fact, one that operators search for.
void Journal::LogEvent(const SessionEvent& event, const db::Outcome& outcome) {
  const v1::Session& session = outcome.session;
  const v1::SessionTask& task = session.current_task();
  const std::string& id = event.session_id();
  switch (event.type()) {
    case SessionEvent::CREATED:
    case SessionEvent::IMPORTED:
      return Log(LogLevel::kInfo, "session",
                 absl::StrCat("Session ", id,
                              event.type() == SessionEvent::CREATED ? " created" : " imported",
                              " for user ", FreeText(session.owner_id())),
                 {{"workflow", session.workflow()}, {"namespace", session.namespace_()}});
    case SessionEvent::UPDATED:
      if (event.changes().fields().contains("hold"))
        Log(LogLevel::kInfo, "audit",
            absl::StrCat("Session ", id, session.hold() ? " held" : " released from its hold"),
            {{"actor", event.actor()}, {"reason", event.reason()}});
      return;
    case SessionEvent::RECOVERED:
      return Log(LogLevel::kInfo, "audit",
                 absl::StrCat("Session ", id, " recovered from stage ", OrDash(event.new_stage()),
                              ", created ", DaysBetween(session.create_time(), event.event_time()),
                              " days ago"),
                 {{"actor", event.actor()}, {"reason", event.reason()}});
    case SessionEvent::TASK_STARTED:
    case SessionEvent::TASK_RETRIED:
      return Log(LogLevel::kInfo, "task",
                 absl::StrCat("SessionTask ", task.task_type(), " started for session ", id,
                              ", task_id: ", task.task_id()),
                 {{"retry", task.retry_count()}});
    case SessionEvent::TASK_COMPLETED:
      return Log(LogLevel::kInfo, "task",
                 absl::StrCat("SessionTask ", task.task_type(), " completed for session ", id,
                              ", duration: ", Minutes(task), "m"),
                 {{"task_id", task.task_id()}});
    case SessionEvent::TASK_CANCELLED:
      return Log(LogLevel::kInfo, "task",
                 absl::StrCat("SessionTask ", task.task_type(), " cancelled for session ", id),
                 {{"task_id", task.task_id()}});
    case SessionEvent::TASK_FAILED:
      return TaskFailed(task, event);
    case SessionEvent::ERROR_RECORDED:
      return ErrorRecorded(event, outcome);
    case SessionEvent::ERROR_RESOLVED:
      return Log(LogLevel::kInfo, "audit", absl::StrCat("SessionError resolved in session ", id),
                 {{"error_id", outcome.errors.front().error_id()}, {"actor", event.actor()}});
    case SessionEvent::ARCHIVED:
      return Log(LogLevel::kInfo, "audit", absl::StrCat("Session ", id, " archived"));
    case SessionEvent::ERASED:
      return Log(LogLevel::kInfo, "audit", absl::StrCat("Session ", id, " erased"));
    default:
      return;
  }
}

void Journal::RecoverableListed(absl::string_view owner_id, int sessions) {
  Log(LogLevel::kInfo, "session",
      absl::StrCat("Session recovery initiated for user ", FreeText(owner_id), ", found ", sessions,
                   " incomplete sessions"));
}

void Journal::Erased(int sessions, bool done) {
  Log(LogLevel::kInfo, "audit", "An owner's sessions were erased",
      {{"sessions", sessions}, {"done", done}});
}

void Journal::Purged(int sessions, int held) {
  if (sessions == 0 && held == 0) return;
  Log(LogLevel::kInfo, "audit", "Sessions were purged", {{"sessions", sessions}, {"held", held}});
}

void Journal::Refused(absl::string_view method, const access::Principal* caller,
                      const absl::Status& status) {
  const v1::ErrorReason reason = ReasonOf(status);
  metrics_.Refused(reason);
  if (caller != nullptr) metrics_.RefusedCaller(caller->counted_as, reason);
  if (reason == v1::INVALID_FORMAT) metrics_.InvalidId();
  if (method == "ResolveError") {
    const auto info = ErrorInfoOf(status);
    const auto error_id = info.metadata().find("error_id");
    Log(LogLevel::kInfo, "audit", "SessionError not resolved",
        {{"error.reason", v1::ErrorReason_Name(reason)},
         {"error_id", error_id == info.metadata().end() ? "" : error_id->second},
         {"message", status.message()}});
  }
  Log(LevelOf(reason), "rpc", "refused",
      {{"grpc.method", method},
       {"caller", caller == nullptr ? "" : FreeText(caller->name)},
       {"grpc.code", absl::StatusCodeToString(status.code())},
       {"error.reason", v1::ErrorReason_Name(reason)},
       {"message", status.message()}});
}

}  // namespace sessiond
