// Sessions as their readers were told of them, kept for all threads of a read lane. The database is
// asked every time whether they have changed, so that nobody is told what is not so any more.
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

namespace sessiond::db {

// A session for its readers.
struct PresentedSession {
  // As Protobuf, with what is derived for readers.
  std::string bytes;
  int32_t sequence;
  bool deleted;
  // False: of a revision that this daemon has not read yet, without what is derived.
  bool workflow_known = true;
  // Until then it is this, unless somebody changes it.
  absl::Time until;
};

// Of a session: no position of its partition is known.
inline constexpr int64_t kNowhere = -1;

struct KeptSession {
  // Null: there is none.
  std::shared_ptr<const PresentedSession> session;
  // Of its partition: it was read, or found unchanged, there or later.
  int64_t position = kNowhere;
};

// Any thread. A connection counts only on what was read since it was opened: whatever it led to
// then, it leads to still. What was read before may be of another database, or of a newer state of
// the same, for a connection that is lost is not noticed at once.
class ReadCache {
 public:
  // `bytes_max`: of all sessions kept.
  explicit ReadCache(std::size_t bytes_max) : sessions_(bytes_max) {}

  // A connection was opened. Answers how many that makes.
  int Opened();
  int openings() const;

  // Whether all of them are kept, since whenever.
  bool Knows(const std::vector<std::string>& session_ids) const;
  // What is kept of each, as far as it holds at `now`, and was read since there were `openings`.
  std::vector<KeptSession> Recall(absl::Span<const absl::string_view> session_ids, absl::Time now,
                                  int openings);
  // Keeps what was found of each at `now`, when there were `openings`, and forgets it where that is
  // nothing, or will not hold.
  void Keep(absl::Span<const absl::string_view> session_ids, absl::Span<const KeptSession> found,
            absl::Time now, int openings);

 private:
  struct Entry {
    KeptSession kept;
    int openings;
  };

  mutable absl::Mutex mutex_;
  TwoQueues<Entry> sessions_ ABSL_GUARDED_BY(mutex_);
  int openings_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sessiond::db
