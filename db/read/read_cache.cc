#include "db/read/read_cache.h"

#include <algorithm>

namespace sessiond::db {

int ReadCache::Opened() {
  absl::MutexLock lock(&mutex_);
  return ++openings_;
}

bool ReadCache::Knows(const std::vector<std::string>& session_ids, const Scope& scope) const {
  absl::MutexLock lock(&mutex_);
  for (const std::string& id : session_ids) {
    const Entry* entry = sessions_.Peek(id);
    if (entry == nullptr) return false;
    const PresentedSession& session = *entry->cached.session;
    if (!scope.Has(session.namespace_name, session.owner_id)) return false;
  }
  return true;
}

std::vector<CachedSession> ReadCache::Find(absl::Span<const absl::string_view> session_ids,
                                           absl::Time now, int openings) {
  std::vector<CachedSession> cached(session_ids.size());
  absl::MutexLock lock(&mutex_);
  for (std::size_t i = 0; i < session_ids.size(); ++i) {
    const Entry* entry = sessions_.Find(session_ids[i]);
    if (entry != nullptr && entry->openings >= openings && now < entry->cached.session->until)
      cached[i] = entry->cached;
  }
  return cached;
}

void ReadCache::Put(absl::Span<const absl::string_view> session_ids,
                    absl::Span<const CachedSession> found, absl::Time now, int openings) {
  absl::MutexLock lock(&mutex_);
  for (std::size_t i = 0; i < session_ids.size(); ++i) {
    const absl::string_view id = session_ids[i];
    const auto& [session, position] = found[i];
    if (session == nullptr || session->until <= now) {
      sessions_.Erase(id);
      continue;
    }
    Entry* const entry = sessions_.Find(id);
    if (entry != nullptr && entry->cached.session == session && openings <= entry->openings) {
      // Where an older connection's server stands says nothing about a newer one's.
      if (openings == entry->openings)
        entry->cached.position = std::max(entry->cached.position, position);
    } else {
      sessions_.Put(std::string(id), {.cached = found[i], .openings = openings},
                    sizeof(PresentedSession) + session->bytes.size());
    }
  }
}

}  // namespace sessiond::db
