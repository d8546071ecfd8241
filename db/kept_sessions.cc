#include "db/kept_sessions.h"

#include <iterator>
#include <utility>

namespace sessiond::db {

void KeptSessions::Keep(const v1::Session& session, int64_t generation) {
  const bool known = by_id_.contains(session.session_id());
  Drop(session.session_id());
  if (session.current_task().status() == v1::SessionTask::RUNNING) return;
  Kept kept{session.session_id(), session.SerializeAsString(), generation};
  if (kept.size() > bytes_max_) return;
  MakeRoom(kept.size());
  Queue& queue = known ? regulars_ : newcomers_;
  queue.bytes += kept.size();
  queue.kept.push_front(std::move(kept));
  by_id_[queue.kept.front().session_id] = {&queue, queue.kept.begin()};
}

void KeptSessions::MakeRoom(std::size_t size) {
  while (newcomers_.bytes + regulars_.bytes + size > bytes_max_) {
    const bool too_many = newcomers_.bytes + size > bytes_max_ / 5;
    Queue& queue =
        regulars_.kept.empty() || (too_many && !newcomers_.kept.empty()) ? newcomers_ : regulars_;
    Erase({&queue, std::prev(queue.kept.end())});
  }
}

void KeptSessions::Drop(absl::string_view session_id) {
  if (const auto found = by_id_.find(session_id); found != by_id_.end()) Erase(found->second);
}

void KeptSessions::Clear() {
  by_id_.clear();
  newcomers_ = {};
  regulars_ = {};
}

void KeptSessions::Erase(Place place) {
  place.queue->bytes -= place.kept->size();
  by_id_.erase(place.kept->session_id);
  place.queue->kept.erase(place.kept);
}

bool KeptSessions::Has(absl::string_view session_id, int64_t generation) const {
  const auto found = by_id_.find(session_id);
  return found != by_id_.end() && found->second.kept->generation == generation;
}

bool KeptSessions::Find(absl::string_view session_id, v1::Session* session, int64_t generation) {
  const auto found = by_id_.find(session_id);
  if (found == by_id_.end()) return false;
  Place& place = found->second;
  if (place.kept->generation != generation) {
    Erase(place);
    return false;
  }
  const std::size_t size = place.kept->size();
  place.queue->bytes -= size;
  regulars_.bytes += size;
  regulars_.kept.splice(regulars_.kept.begin(), place.queue->kept, place.kept);
  place.queue = &regulars_;
  return session->ParseFromString(place.kept->bytes);
}

}  // namespace sessiond::db
