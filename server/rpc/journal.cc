#include "server/rpc/journal.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/ops/log.h"
#include "server/state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

using v1::SessionEvent;

// Names as the data has them.
std::string Lower(v1::Session::State state) {
  return state == v1::Session::STATE_UNSPECIFIED
             ? ""
             : absl::AsciiStrToLower(v1::Session::State_Name(state));
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
      return LogLevel::kInfo;  // The caller's mistakes are no alarm of ours.
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
  const v1::Session& session = outcome.session;
  for (const SessionEvent& event : outcome.events) {
    if (event.type() == SessionEvent::CREATED) {
      Log(LogLevel::kInfo, "session",
          absl::StrCat("Session ", session.session_id(), " created for user ",
                       FreeText(session.owner_id())),
          {{"workflow", session.workflow()}, {"namespace", session.namespace_()}});
    }
    if (event.old_state() != event.new_state()) {
      Moved("state", session, Lower(event.old_state()), Lower(event.new_state()));
    }
    if (event.old_stage() != event.new_stage())
      Moved("stage", session, event.old_stage(), event.new_stage());
    if (event.old_status() != event.new_status())
      metrics_.Transition("status", event.old_status(), event.new_status());
  }
}

void Journal::Refused(absl::string_view method, const absl::Status& status) {
  const v1::ErrorReason reason = ReasonOf(status);
  metrics_.Refused(reason);
  if (reason == v1::INVALID_FORMAT) metrics_.InvalidId();
  Log(LevelOf(reason), "rpc", "refused",
      {{"grpc.method", method},
       {"grpc.code", absl::StatusCodeToString(status.code())},
       {"error.reason", v1::ErrorReason_Name(reason)},
       {"message", status.message()}});
}

}  // namespace sessiond::rpc
