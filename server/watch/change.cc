#include "server/watch/change.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/evolve.h"
#include "state_machine/limits.h"

namespace sessiond::watch {
namespace {

using v1::Session;
using v1::SessionEvent;

// Of a change, with room for what else a response has.
constexpr std::size_t kWireBytesMax = kMessageBytesMax - (16 << 10);

bool Born(const SessionEvent& event) { return event.sequence() == 1; }

// What the event itself says about the session after it, whatever came later.
void SetAfter(const SessionEvent& event, Session* session) {
  session->set_state(event.new_state());
  session->set_stage(event.new_stage());
  session->set_status(event.new_status());
  session->set_sequence(event.sequence());
  *session->mutable_update_time() = event.event_time();
}

// As many of the first messages as fit; none when even the first does not.
std::vector<v1::SessionMessage> Fitting(std::vector<v1::SessionMessage> messages) {
  std::size_t bytes = 0;
  const auto cut = std::find_if(messages.begin(), messages.end(), [&](const auto& message) {
    bytes += message.ByteSizeLong();
    return bytes > kAppendedBytesMax;
  });
  messages.erase(cut, messages.end());
  return messages;
}

std::shared_ptr<Change> NewChange(int16_t partition, int64_t position, SessionEvent event,
                                  std::vector<v1::SessionMessage> messages) {
  auto change = std::make_shared<Change>();
  change->partition = partition;
  change->position = position;
  change->event = std::move(event);
  change->messages = Fitting(std::move(messages));
  return change;
}

// The events of one command, first to last: each finds the session as the previous one left it, and
// the last leaves it as the command did. Most commands have one event, and then nothing is copied.
void AddCommand(std::vector<db::CommittedEvent>::iterator begin,
                std::vector<db::CommittedEvent>::iterator end, std::vector<ChangePtr>* changes) {
  SessionPtr before = begin->session_before;
  for (auto each = begin; each != end; ++each) {
    auto change = NewChange(each->partition, each->position, std::move(each->event),
                            std::move(each->messages));
    change->session = change->after = each->session;
    change->before = before;
    if (std::next(each) != end) {
      auto after =
          before == nullptr ? std::make_shared<Session>() : std::make_shared<Session>(*before);
      Evolve(change->event, after.get());
      change->after = before = after;
    }
    changes->push_back(std::move(change));
  }
}

// For a session that is gone.
SessionPtr BeforeTheEnd(const SessionEvent& event, const db::StoredEvents& stored) {
  auto before = std::make_shared<Session>();
  const auto found = stored.tombstones.find(event.session_id());
  if (found != stored.tombstones.end()) *before = found->second;
  before->set_session_id(event.session_id());
  before->set_state(event.old_state());
  before->set_stage(event.old_stage());
  before->set_status(event.old_status());
  return before;
}

void StepBack(const db::StoredStep& step, Session* session) {
  sessiond::StepBack(step.event, step.before, step.previous_time, step.marked_time, session);
}

}  // namespace

std::vector<ChangePtr> ChangesOf(std::vector<db::CommittedEvent> committed) {
  std::vector<ChangePtr> changes;
  changes.reserve(committed.size());
  for (auto begin = committed.begin(); begin != committed.end();) {
    const auto end = std::find_if(begin, committed.end(), [&](const db::CommittedEvent& each) {
      return each.session != begin->session || each.session_before != begin->session_before;
    });
    AddCommand(begin, end, &changes);
    begin = end;
  }
  return changes;
}

std::vector<ChangePtr> ChangesOf(db::StoredEvents stored) {
  // Each session as it was after the event at hand, going back from the last event.
  absl::flat_hash_map<std::string, Session> standing;
  for (const auto& [id, session] : stored.sessions) {
    Session& stands = standing[id];
    stands = *session;
    const auto later = stored.later.find(id);
    if (later == stored.later.end()) continue;
    for (auto step = later->second.rbegin(); step != later->second.rend(); ++step)
      StepBack(*step, &stands);
  }
  std::vector<ChangePtr> changes;
  changes.reserve(stored.events.size());
  for (auto each = stored.events.rbegin(); each != stored.events.rend(); ++each) {
    auto change = NewChange(each->partition, each->position, std::move(each->step.event),
                            std::move(each->messages));
    const SessionEvent& event = change->event;
    const auto stands = standing.find(event.session_id());
    if (IsEnd(event)) {
      change->before = BeforeTheEnd(event, stored);
      change->before_is_partial = true;
    } else if (stands != standing.end()) {
      change->session = stored.sessions.at(event.session_id());
      SetAfter(event, &stands->second);
      change->after = std::make_shared<Session>(stands->second);
      each->step.event = event;
      StepBack(each->step, &stands->second);
      if (!Born(event)) change->before = std::make_shared<Session>(stands->second);
    }
    changes.push_back(std::move(change));
  }
  std::reverse(changes.begin(), changes.end());
  return changes;
}

const std::string& Change::wire() const {
  absl::call_once(serialized_, [this] {
    // Lent, not copied: serializing it does not change it.
    v1::WatchSessionsResponse response;
    v1::SessionChange& change = *response.mutable_change();
    change.unsafe_arena_set_allocated_event(const_cast<v1::SessionEvent*>(&event));
    change.unsafe_arena_set_allocated_session(const_cast<v1::Session*>(session.get()));
    for (const v1::SessionMessage& message : messages) *change.add_messages() = message;
    const bool fits = response.ByteSizeLong() <= kWireBytesMax;
    if (fits) wire_ = response.SerializeAsString();
    change.unsafe_arena_release_event();
    if (!fits) {
      *change.mutable_event() = event;
      change.mutable_event()->clear_changes();
      wire_ = response.SerializeAsString();
    }
    change.unsafe_arena_release_session();
  });
  return wire_;
}

}  // namespace sessiond::watch
