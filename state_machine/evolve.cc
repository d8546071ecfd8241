#include "state_machine/evolve.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "state_machine/event_facts.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;
using google::protobuf::Timestamp;
using v1::Session;
using v1::SessionEvent;

// The times that events of each type set in their session, or clear.
struct Mark {
  SessionEvent::Type type;
  Timestamp* (Session::*time)();
  void (Session::*clear)();
  bool taken_off = false;
};
constexpr Mark kMarks[] = {
    {SessionEvent::CREATED, &Session::mutable_create_time, &Session::clear_create_time},
    {SessionEvent::COMPLETED, &Session::mutable_complete_time, &Session::clear_complete_time},
    {SessionEvent::FAILED, &Session::mutable_fail_time, &Session::clear_fail_time},
    {SessionEvent::RECOVERED, &Session::mutable_fail_time, &Session::clear_fail_time, true},
    {SessionEvent::DELETED, &Session::mutable_delete_time, &Session::clear_delete_time},
    {SessionEvent::UNDELETED, &Session::mutable_delete_time, &Session::clear_delete_time, true},
};

const Mark* MarkOf(const SessionEvent& event) {
  const auto* found = std::find_if(std::begin(kMarks), std::end(kMarks),
                                   [&](const Mark& mark) { return mark.type == event.type(); });
  return found == std::end(kMarks) ? nullptr : found;
}

// What filters look at and updates change: an event has only the new value.
constexpr absl::string_view kUpdated[] = {
    "owner_id", "owner_display_name", "hold", "context", "references", "labels", "counters"};

// Events that do not change an editor's etag.
bool LeavesRevision(const SessionEvent& event) {
  return event.type() == SessionEvent::MESSAGES_APPENDED ||
         event.type() == SessionEvent::TASK_PROGRESSED;
}

bool Follows(const SessionEvent& event, const Session& session) {
  return event.sequence() == session.sequence() + 1 && event.old_state() == session.state() &&
         event.old_stage() == session.stage() && event.old_status() == session.status() &&
         (session.sequence() == 0 || event.session_id() == session.session_id()) &&
         FromProto(event.event_time()) >= FromProto(session.update_time());
}

}  // namespace

bool IsEnd(const SessionEvent& event) {
  return event.type() == SessionEvent::ARCHIVED || event.type() == SessionEvent::ERASED;
}

void Evolve(const SessionEvent& event, Session* session) {
  session->set_session_id(event.session_id());
  session->set_sequence(event.sequence());
  if (!LeavesRevision(event)) session->set_revision(event.sequence());
  session->set_state(event.new_state());
  session->set_stage(event.new_stage());
  session->set_status(event.new_status());
  *session->mutable_update_time() = event.event_time();
  if (const Mark* mark = MarkOf(event)) {
    if (mark->taken_off) {
      (session->*mark->clear)();
    } else {
      *(session->*mark->time)() = event.event_time();
    }
  }
  for (const auto& [path, fact] : event.changes().fields()) TakeFactAt(path, fact, session);
}

absl::StatusOr<Session> Replay(const std::vector<SessionEvent>& events) {
  Session session;
  for (const SessionEvent& event : events) {
    if (!Follows(event, session)) {
      return absl::InternalError(
          absl::StrCat("event ", event.sequence(), " of session ", event.session_id(),
                       " does not follow its predecessor ", session.sequence()));
    }
    Evolve(event, &session);
  }
  return session;
}

Struct BeforeOf(const SessionEvent& event, const Session& session) {
  Struct before;
  if (session.sequence() == 0) return before;
  for (const auto& [path, fact] : event.changes().fields()) {
    const absl::string_view field = absl::string_view(path).substr(0, path.find('.'));
    if (std::find(std::begin(kUpdated), std::end(kUpdated), field) != std::end(kUpdated))
      (*before.mutable_fields())[path] = FactAt(path, session);
  }
  return before;
}

void StepBack(const SessionEvent& event, const Struct& before,
              std::optional<absl::Time> previous_time, std::optional<absl::Time> marked_time,
              Session* session) {
  const auto time_or = [&](const std::optional<absl::Time>& time) {
    return time.has_value() ? ToProto(*time) : event.event_time();
  };
  const auto& changes = event.changes().fields();
  session->set_state(event.old_state());
  session->set_stage(event.old_stage());
  session->set_status(event.old_status());
  session->set_sequence(event.sequence() - 1);
  *session->mutable_update_time() = time_or(previous_time);
  if (const Mark* mark = MarkOf(event)) {
    if (!mark->taken_off) {
      (session->*mark->clear)();
    } else if (event.type() != SessionEvent::RECOVERED || changes.contains("fail_time")) {
      // A session that is recovered need not have failed.
      *(session->*mark->time)() = time_or(marked_time);
    }
  }
  if (const auto blocking = changes.find("has_blocking_errors"); blocking != changes.end())
    session->set_has_blocking_errors(!blocking->second.bool_value());
  for (const auto& [path, fact] : before.fields()) TakeFactAt(path, fact, session);
}

}  // namespace sessiond
