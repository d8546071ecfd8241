// Sessions as they were sent to readers, cached for all threads of a read lane. The database is
// asked every time whether they have changed, so that no reader gets outdated state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/two_queues.h"
#include "state_machine/scope.h"

namespace sessiond::db {

// A session for its readers.
struct PresentedSession {
  // As Protobuf, with what is derived for readers.
  std::string bytes;
  std::string namespace_name, owner_id;
  int32_t sequence;
  bool deleted;
  // False: this daemon has not read its workflow's revision yet, so derived fields are missing.
  bool workflow_known = true;
  // Valid until then, unless the session is changed.
  absl::Time until;
};

// No position of the session's partition is known.
inline constexpr int64_t kNoPosition = -1;

struct CachedSession {
  // Null: there is no session.
  std::shared_ptr<const PresentedSession> session;
  // Its partition's: the session was read, or found unchanged, at this position or later.
  int64_t position = kNoPosition;
};

// Any thread. A connection relies only on what was read by connections that were not opened before
// it: it still leads to the same server as then. What an older one reads, or has read, may be from
// another database, or from a newer state of the same one, since neither a lost connection nor a
// failover is noticed at once.
class ReadCache {
 public:
  // `bytes_max`: of all cached sessions.
  explicit ReadCache(std::size_t bytes_max) : sessions_(bytes_max) {}

  // A connection was opened. Returns the number of openings.
  int Opened();

  // Whether all of them are cached, however old, and in scope. What is hidden counts as never
  // existed: otherwise the way that a look-up goes would tell, by the time that it takes.
  bool Knows(const std::vector<std::string>& session_ids, const Scope& scope = {}) const;
  // What is cached for each, if it is valid at `now`, and was read by a connection that was opened
  // when there were `openings`, or later.
  std::vector<CachedSession> Find(absl::Span<const absl::string_view> session_ids, absl::Time now,
                                  int openings);
  // Caches what was found for each at `now` by a connection that was opened when there were
  // `openings`; erases it if nothing was found, or if it will not stay valid.
  void Put(absl::Span<const absl::string_view> session_ids, absl::Span<const CachedSession> found,
           absl::Time now, int openings);

 private:
  struct Entry {
    CachedSession cached;
    int openings;
  };

  mutable absl::Mutex mutex_;
  TwoQueues<Entry> sessions_ ABSL_GUARDED_BY(mutex_);
  int openings_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sessiond::db
