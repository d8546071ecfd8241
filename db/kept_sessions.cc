#include "db/kept_sessions.h"

#include <iterator>
#include <utility>

namespace sessiond::db {

void KeptSessions::Keep(const v1::Session& session, int64_t generation) {
  Drop(session.session_id());
  if (session.current_task().status() == v1::SessionTask::RUNNING) return;
  Kept kept{session.session_id(), session.SerializeAsString(), generation};
  if (kept.size() > bytes_max_) return;
  while (bytes_ + kept.size() > bytes_max_) Erase(std::prev(kept_.end()));
  bytes_ += kept.size();
  kept_.push_front(std::move(kept));
  by_id_[kept_.front().session_id] = kept_.begin();
}

void KeptSessions::Drop(absl::string_view session_id) {
  if (const auto found = by_id_.find(session_id); found != by_id_.end()) Erase(found->second);
}

void KeptSessions::Clear() {
  by_id_.clear();
  kept_.clear();
  bytes_ = 0;
}

void KeptSessions::Erase(List::iterator kept) {
  bytes_ -= kept->size();
  by_id_.erase(kept->session_id);
  kept_.erase(kept);
}

bool KeptSessions::Find(absl::string_view session_id, v1::Session* session, int64_t generation) {
  const auto found = by_id_.find(session_id);
  if (found == by_id_.end()) return false;
  const auto kept = found->second;
  if (kept->generation != generation) {
    Erase(kept);
    return false;
  }
  kept_.splice(kept_.begin(), kept_, kept);
  return session->ParseFromString(kept->bytes);
}

}  // namespace sessiond::db
