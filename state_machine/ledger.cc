#include "state_machine/ledger.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "state_machine/facts.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::Session;
using v1::SessionEvent;
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

// What an editor's etag is not disturbed by.
bool LeavesRevision(SessionEvent::Type type) {
  return type == SessionEvent::MESSAGES_APPENDED || type == SessionEvent::TASK_PROGRESSED;
}

// SplitMix64 (Steele, Lea, Flood 2014): spreads a counter over 64 bits.
uint64_t Spread(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

template <class Map, class ToValue>
Value MapToValue(const Map& map, ToValue to_value) {
  Value value;
  auto* fields = value.mutable_struct_value()->mutable_fields();
  for (const auto& [key, item] : map) (*fields)[key] = to_value(item);
  return value;
}

}  // namespace

Ledger::Ledger(const Workflow& workflow, const Aggregate& aggregate, const Command& command,
               absl::Time now)
    : workflow_(workflow), command_(command), now_(now) {
  decision_.blocking = aggregate.blocking;
  if (aggregate.session.has_value()) {
    decision_.session = *aggregate.session;
    // Nor before the last sign of life, of which there is no event.
    now_ = std::max({now, FromProto(decision_.session.update_time()),
                     FromProto(decision_.session.current_task().heartbeat_time())});
  }
  std::visit(
      [&](const auto& request) {
        // A request of a stream carries neither.
        if constexpr (requires { request.actor(); }) {
          actor_ = request.actor();
          reason_ = request.reason();
        }
      },
      command.request);
  by_user_ = !actor_.empty();
  if (!by_user_) actor_ = command.caller;
}

std::string Ledger::DrawId() {
  ++draws_;
  // The twelve bits behind the time count (RFC 9562, section 6.2), so that ids keep the order in
  // which they were drawn.
  const uint64_t high = (Spread(command_.seed[0] + draws_) & ~uint64_t{0xFFF}) | (draws_ & 0xFFF);
  return MakeSessionId(v1::Workflow::UUID, now_, high, Spread(command_.seed[1] + draws_));
}

void Ledger::Record(SessionEvent::Type type, Change change) {
  Session& session = decision_.session;
  SessionEvent event;
  decision_.before.emplace_back();
  event.set_old_state(session.state());
  event.set_old_stage(session.stage());
  event.set_old_status(session.status());

  change(session, *event.mutable_changes());
  session.set_status(workflow_.StatusOf(StandingOf(session)));
  session.set_sequence(session.sequence() + 1);
  if (!LeavesRevision(type)) session.set_revision(session.sequence());
  *session.mutable_update_time() = ToProto(now_);

  event.set_session_id(session.session_id());
  event.set_sequence(session.sequence());
  *event.mutable_event_time() = session.update_time();
  event.set_type(type);
  event.set_new_state(session.state());
  event.set_new_stage(session.stage());
  event.set_new_status(session.status());
  event.set_trigger(command_.by_timeout ? SessionEvent::SYSTEM_TIMEOUT
                    : by_user_          ? SessionEvent::USER_ACTION
                                        : SessionEvent::API_CALL);
  event.set_actor(actor_);
  event.set_caller(command_.caller);
  event.set_reason(reason_);
  event.set_request_id(command_.request_id);
  decision_.events.push_back(std::move(event));
}

void Ledger::Before(const std::string& path, Value value) {
  (*decision_.before.back().mutable_fields())[path] = std::move(value);
}

void Ledger::RecordTask(SessionEvent::Type type, absl::FunctionRef<void(SessionTask&)> change,
                        std::initializer_list<absl::string_view> fields) {
  Record(type, [&](Session& session, Struct& changes) {
    SessionTask& task = *session.mutable_current_task();
    change(task);
    for (const absl::string_view field : fields)
      Set(changes, absl::StrCat("current_task.", field), FactOf(task, field));
  });
  decision_.task_changed = true;
}

void Ledger::RecordHeartbeat() {
  *decision_.session.mutable_current_task()->mutable_heartbeat_time() = ToProto(now_);
  decision_.task_changed = true;
}

void Ledger::RecordEnd(Decision::End end) {
  const bool erased = end == Decision::End::kErased;
  Record(erased ? SessionEvent::ERASED : SessionEvent::ARCHIVED, [](Session&, Struct&) {});
  decision_.end = end;
  SessionEvent& event = decision_.events.back();
  event.clear_new_state();
  event.clear_new_stage();
  event.clear_new_status();
  if (!erased) return;
  // Nothing that could name a person stays.
  event.clear_actor();
  event.clear_reason();
  event.clear_request_id();
}

void Ledger::AddBlocking(const std::string& error_id, Session& session, Struct& changes) {
  BlockingErrors& blocking = decision_.blocking;
  const bool all_known = static_cast<int>(blocking.ids.size()) == blocking.count;
  if (all_known && blocking.count < kBlockingErrorIdsMax) blocking.ids.push_back(error_id);
  if (++blocking.count > 1) return;
  session.set_has_blocking_errors(true);
  Set(changes, "has_blocking_errors", BoolValue(true));
}

void Ledger::RemoveBlocking(const std::string& error_id, Session& session, Struct& changes) {
  BlockingErrors& blocking = decision_.blocking;
  blocking.ids.erase(std::remove(blocking.ids.begin(), blocking.ids.end(), error_id),
                     blocking.ids.end());
  if (--blocking.count > 0) return;
  session.set_has_blocking_errors(false);
  Set(changes, "has_blocking_errors", BoolValue(false));
}

void Set(Struct& changes, absl::string_view path, Value value) {
  (*changes.mutable_fields())[std::string(path)] = std::move(value);
}

Value StructValue(const Struct& fields) {
  Value value;
  *value.mutable_struct_value() = fields;
  return value;
}

Value MapValue(const google::protobuf::Map<std::string, std::string>& map) {
  return MapToValue(map, [](const std::string& item) { return StringValue(item); });
}

Value MapValue(const google::protobuf::Map<std::string, int32_t>& map) {
  return MapToValue(map, [](int32_t item) { return NumberValue(item); });
}

}  // namespace sessiond
