#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "state_machine/decide.h"
#include "state_machine/facts.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using google::protobuf::Value;
using v1::Session;
using v1::SessionEvent;

std::string Unquoted(absl::string_view key) {
  if (absl::ConsumePrefix(&key, "`")) absl::ConsumeSuffix(&key, "`");
  return std::string(key);
}

// One key of one of the maps: `labels.team`.
void ApplyKey(absl::string_view field, const std::string& key, const Value& value,
              Session* session) {
  const bool removed = value.has_null_value();
  if (field == "context") {
    auto* fields = session->mutable_context()->mutable_fields();
    if (removed) {
      fields->erase(key);
    } else {
      (*fields)[key] = value;
    }
  } else if (field == "counters") {
    (*session->mutable_counters())[key] = static_cast<int32_t>(value.number_value());
  } else {
    auto* map = field == "labels" ? session->mutable_labels() : session->mutable_references();
    if (removed) {
      map->erase(key);
    } else {
      (*map)[key] = value.string_value();
    }
  }
}

}  // namespace

// What lies below a session is no part of it: errors, artifacts, the sequences of messages.
void TakeChange(absl::string_view path, const Value& value, Session* session) {
  const std::size_t dot = path.find('.');
  if (dot == absl::string_view::npos) return TakeFact(path, value, session);
  const absl::string_view field = path.substr(0, dot), rest = path.substr(dot + 1);
  if (field == "current_task") return TakeFact(rest, value, session->mutable_current_task());
  if (field == "errors" || field == "artifacts") return;
  ApplyKey(field, Unquoted(rest), value, session);
}

absl::StatusOr<Session> Replay(const std::vector<SessionEvent>& events) {
  Session session;
  for (const SessionEvent& event : events) {
    const bool follows =
        event.sequence() == session.sequence() + 1 && event.old_state() == session.state() &&
        event.old_stage() == session.stage() && event.old_status() == session.status() &&
        (session.sequence() == 0 || event.session_id() == session.session_id()) &&
        FromProto(event.event_time()) >= FromProto(session.update_time());
    if (!follows) {
      return absl::InternalError(
          absl::StrCat("event ", event.sequence(), " of session ", event.session_id(),
                       " does not follow its predecessor ", session.sequence()));
    }
    session.set_session_id(event.session_id());
    session.set_sequence(event.sequence());
    if (event.type() != SessionEvent::MESSAGES_APPENDED &&
        event.type() != SessionEvent::TASK_PROGRESSED) {
      session.set_revision(event.sequence());
    }
    session.set_state(event.new_state());
    session.set_stage(event.new_stage());
    session.set_status(event.new_status());
    *session.mutable_update_time() = event.event_time();
    if (event.type() == SessionEvent::CREATED) *session.mutable_create_time() = event.event_time();
    if (event.type() == SessionEvent::COMPLETED)
      *session.mutable_complete_time() = event.event_time();
    if (event.type() == SessionEvent::DELETED) *session.mutable_delete_time() = event.event_time();
    if (event.type() == SessionEvent::UNDELETED) session.clear_delete_time();
    for (const auto& [path, value] : event.changes().fields()) TakeChange(path, value, &session);
  }
  return session;
}

}  // namespace sessiond
