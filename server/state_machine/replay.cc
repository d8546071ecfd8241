#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/state_machine/decide.h"
#include "server/state_machine/timestamps.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;
using v1::Session;
using v1::SessionEvent;

void ReadMap(const Struct& from, google::protobuf::Map<std::string, std::string>* to) {
  to->clear();
  for (const auto& [key, value] : from.fields()) (*to)[key] = value.string_value();
}

void ReadMap(const Struct& from, google::protobuf::Map<std::string, int32_t>* to) {
  to->clear();
  for (const auto& [key, value] : from.fields())
    (*to)[key] = static_cast<int32_t>(value.number_value());
}

Timestamp ReadTime(const Value& value) {
  absl::Time time;
  std::string error;
  absl::ParseTime(absl::RFC3339_full, value.string_value(), &time, &error);
  return ToProto(time);
}

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

void ApplyChange(absl::string_view path, const Value& value, Session* session) {
  const std::size_t dot = path.find('.');
  if (dot != absl::string_view::npos) {
    return ApplyKey(path.substr(0, dot), Unquoted(path.substr(dot + 1)), value, session);
  }
  if (path == "namespace") session->set_namespace_(value.string_value());
  if (path == "workflow") session->set_workflow(value.string_value());
  if (path == "workflow_revision")
    session->set_workflow_revision(static_cast<int32_t>(value.number_value()));
  if (path == "owner_id") session->set_owner_id(value.string_value());
  if (path == "owner_display_name") session->set_owner_display_name(value.string_value());
  if (path == "fail_reason") session->set_fail_reason(value.string_value());
  if (path == "hold") session->set_hold(value.bool_value());
  if (path == "context") *session->mutable_context() = value.struct_value();
  if (path == "counters") ReadMap(value.struct_value(), session->mutable_counters());
  if (path == "references") ReadMap(value.struct_value(), session->mutable_references());
  if (path == "labels") ReadMap(value.struct_value(), session->mutable_labels());
  if (path == "fail_time") *session->mutable_fail_time() = ReadTime(value);
  if (path == "recover_before_time") *session->mutable_recover_before_time() = ReadTime(value);
  if (path == "purge_time") {
    if (value.has_null_value()) {
      session->clear_purge_time();
    } else {
      *session->mutable_purge_time() = ReadTime(value);
    }
  }
}

}  // namespace

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
    session.set_revision(event.sequence());
    session.set_state(event.new_state());
    session.set_stage(event.new_stage());
    session.set_status(event.new_status());
    *session.mutable_update_time() = event.event_time();
    if (event.type() == SessionEvent::CREATED) *session.mutable_create_time() = event.event_time();
    if (event.type() == SessionEvent::COMPLETED)
      *session.mutable_complete_time() = event.event_time();
    if (event.type() == SessionEvent::DELETED) *session.mutable_delete_time() = event.event_time();
    if (event.type() == SessionEvent::UNDELETED) session.clear_delete_time();
    for (const auto& [path, value] : event.changes().fields()) ApplyChange(path, value, &session);
  }
  return session;
}

}  // namespace sessiond
