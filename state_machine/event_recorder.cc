#include "state_machine/event_recorder.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "state_machine/event_facts.h"
#include "state_machine/evolve.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionMessage;
using v1::SessionTask;

Standing StandingOf(const Session& session) {
  const SessionTask& task = session.current_task();
  const bool runs = task.status() == SessionTask::RUNNING;
  return {.state = session.state(),
          .stage = session.stage(),
          .running_task = runs ? absl::string_view(task.task_type()) : "",
          .failed = session.has_fail_time(),
          .completed = session.has_complete_time()};
}

// SplitMix64 (Steele, Lea, Flood 2014): spreads a counter over 64 bits.
uint64_t Spread(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

EventRecorder::EventRecorder(const Workflow& workflow, const Aggregate& aggregate,
                             const Command& command, absl::Time now)
    : workflow_(workflow), command_(command), now_(now) {
  decision_.blocking = aggregate.blocking;
  if (aggregate.session.has_value()) {
    decision_.session = *aggregate.session;
    // Nor before the last heartbeat, which has no event.
    now_ = std::max({now, FromProto(decision_.session.update_time()),
                     FromProto(decision_.session.current_task().heartbeat_time())});
  }
  std::visit(
      [&](const auto& request) {
        // A streamed request has neither.
        if constexpr (requires { request.actor(); }) {
          actor_ = request.actor();
          reason_ = request.reason();
        }
      },
      command.request);
  by_user_ = !actor_.empty();
  if (!by_user_) actor_ = command.caller;
}

std::string EventRecorder::DrawId() {
  // A request id may be used again after a day, and with it the seed: then the sequence is another.
  const uint64_t draw = (static_cast<uint64_t>(decision_.session.sequence()) << 32) + ++draws_;
  // The twelve bits after the time are a counter (RFC 9562, section 6.2), so that ids sort in the
  // order in which they were drawn.
  const uint64_t high = (Spread(command_.seed[0] + draw) & ~uint64_t{0xFFF}) | (draws_ & 0xFFF);
  return MakeSessionId(v1::Workflow::UUID, now_, high, Spread(command_.seed[1] + draw));
}

void EventRecorder::Record(SessionEvent::Type type, Changes changes) {
  Session& session = decision_.session;
  SessionEvent& event = decision_.events.emplace_back();
  event.set_session_id(command_.session_id);
  event.set_sequence(session.sequence() + 1);
  *event.mutable_event_time() = ToProto(now_);
  event.set_type(type);
  event.set_old_state(session.state());
  event.set_old_stage(session.stage());
  event.set_old_status(session.status());
  if (!IsEnd(event)) {
    event.set_new_state(changes.state == Session::STATE_UNSPECIFIED ? session.state()
                                                                    : changes.state);
    event.set_new_stage(changes.stage.empty() ? session.stage() : std::move(changes.stage));
  }
  event.set_trigger(command_.by_timeout ? SessionEvent::SYSTEM_TIMEOUT
                    : by_user_          ? SessionEvent::USER_ACTION
                                        : SessionEvent::API_CALL);
  event.set_actor(actor_);
  event.set_caller(command_.caller);
  event.set_reason(reason_);
  event.set_request_id(command_.request_id);
  *event.mutable_changes() = std::move(changes.fields);

  decision_.before.push_back(BeforeOf(event, session));
  Evolve(event, &session);
  for (const auto& [path, fact] : event.changes().fields())
    decision_.task_changed |= absl::StartsWith(path, "current_task");
  if (IsEnd(event)) return;
  // The status is derived from everything else.
  event.set_new_status(workflow_.StatusOf(StandingOf(session)));
  session.set_status(event.new_status());
}

void EventRecorder::RecordEnd(Decision::End end) {
  decision_.end = end;
  if (end == Decision::End::kArchived) return Record(SessionEvent::ARCHIVED, {});
  // No personal data may be left.
  Record(SessionEvent::ERASED, {});
  SessionEvent& event = decision_.events.back();
  event.clear_actor();
  event.clear_reason();
  event.clear_request_id();
}

void EventRecorder::RecordHeartbeat() {
  *decision_.session.mutable_current_task()->mutable_heartbeat_time() = ToProto(now_);
  decision_.task_changed = true;
}

void EventRecorder::Add(SessionArtifact artifact, absl::Time created, Changes& changes) {
  if (artifact.artifact_id().empty()) artifact.set_artifact_id(DrawId());
  artifact.set_session_id(command_.session_id);
  *artifact.mutable_create_time() = ToProto(created);
  changes.Set(absl::StrCat("artifacts.", artifact.artifact_id()), FactsOf(artifact));
  decision_.artifacts.push_back(std::move(artifact));
}

void EventRecorder::Delete(const std::string& artifact_id, Changes& changes) {
  changes.Set(absl::StrCat("artifacts.", artifact_id), NullValue());
  decision_.deleted_artifacts.push_back(artifact_id);
}

void EventRecorder::Add(SessionError error, absl::Time created, Changes& changes) {
  if (error.error_id().empty()) error.set_error_id(DrawId());
  error.set_session_id(command_.session_id);
  *error.mutable_create_time() = ToProto(created);
  changes.Set(absl::StrCat("errors.", error.error_id()), FactsOf(error));
  if (error.severity() == SessionError::BLOCKING && !error.has_resolve_time())
    AddBlocking(error.error_id(), changes);
  decision_.errors.push_back(std::move(error));
}

void EventRecorder::Add(SessionMessage message, int32_t sequence, absl::Time created) {
  const bool id_brought = !message.message_id().empty();
  if (!id_brought) message.set_message_id(DrawId());
  message.set_session_id(command_.session_id);
  message.set_sequence(sequence);
  *message.mutable_create_time() = ToProto(created);
  decision_.messages.push_back({.message = std::move(message), .id_brought = id_brought});
}

void EventRecorder::Resolve(SessionError error, const std::string& resolution, Changes& changes) {
  *error.mutable_resolve_time() = ToProto(now_);
  error.set_resolver(actor_);
  error.set_resolution(resolution);
  for (const char* field : {"resolve_time", "resolver", "resolution"})
    changes.Set(absl::StrCat("errors.", error.error_id(), ".", field), FactOf(error, field));
  if (error.severity() == SessionError::BLOCKING) RemoveBlocking(error.error_id(), changes);
  decision_.errors.push_back(std::move(error));
}

void EventRecorder::AddBlocking(const std::string& error_id, Changes& changes) {
  BlockingErrors& blocking = decision_.blocking;
  const bool all_known = static_cast<int>(blocking.ids.size()) == blocking.count;
  if (all_known && blocking.count < kBlockingErrorIdsMax) blocking.ids.push_back(error_id);
  if (++blocking.count == 1) changes.Set("has_blocking_errors", BoolValue(true));
}

void EventRecorder::RemoveBlocking(const std::string& error_id, Changes& changes) {
  BlockingErrors& blocking = decision_.blocking;
  blocking.ids.erase(std::remove(blocking.ids.begin(), blocking.ids.end(), error_id),
                     blocking.ids.end());
  if (--blocking.count <= 0) changes.Set("has_blocking_errors", BoolValue(false));
}

}  // namespace sessiond
