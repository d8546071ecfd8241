#include "db/read/read_cache.h"

#include <algorithm>

namespace sessiond::db {

int ReadCache::Opened() {
  absl::MutexLock lock(&mutex_);
  return ++openings_;
}

int ReadCache::openings() const {
  absl::MutexLock lock(&mutex_);
  return openings_;
}

bool ReadCache::Knows(const std::vector<std::string>& session_ids, const Scope& scope) const {
  absl::MutexLock lock(&mutex_);
  for (const std::string& id : session_ids) {
    const Entry* entry = sessions_.Peek(id);
    if (entry == nullptr) return false;
    const PresentedSession& session = *entry->kept.session;
    if (!scope.Has(session.namespace_name, session.owner_id)) return false;
  }
  return true;
}

std::vector<KeptSession> ReadCache::Recall(absl::Span<const absl::string_view> session_ids,
                                           absl::Time now, int openings) {
  std::vector<KeptSession> recalled(session_ids.size());
  absl::MutexLock lock(&mutex_);
  for (std::size_t i = 0; i < session_ids.size(); ++i) {
    const Entry* entry = sessions_.Find(session_ids[i]);
    if (entry != nullptr && entry->openings >= openings && now < entry->kept.session->until)
      recalled[i] = entry->kept;
  }
  return recalled;
}

void ReadCache::Keep(absl::Span<const absl::string_view> session_ids,
                     absl::Span<const KeptSession> found, absl::Time now, int openings) {
  absl::MutexLock lock(&mutex_);
  for (std::size_t i = 0; i < session_ids.size(); ++i) {
    const absl::string_view id = session_ids[i];
    const auto& [session, position] = found[i];
    if (session == nullptr || session->until <= now) {
      sessions_.Drop(id);
      continue;
    }
    Entry* const entry = sessions_.Find(id);
    if (entry != nullptr && entry->kept.session == session) {
      entry->kept.position = std::max(entry->kept.position, position);
      entry->openings = std::max(entry->openings, openings);
    } else {
      sessions_.Keep(std::string(id), {.kept = found[i], .openings = openings},
                     sizeof(PresentedSession) + session->bytes.size());
    }
  }
}

}  // namespace sessiond::db
