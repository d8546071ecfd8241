// What watches read from the database, on connections of their own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/base/coroutine.h"
#include "db/base/deadline.h"
#include "db/base/page.h"
#include "db/base/selection.h"
#include "db/base/stored_events.h"
#include "db/query/query_pool.h"
#include "db/session_store.h"

namespace sessiond::db {

struct WatchReaderOptions {
  std::string dsn;
  int connections = 1;
  // The most that may wait.
  int waiting_max = 1024;
  // For each round trip.
  absl::Duration timeout = absl::Seconds(30);
};

// Any thread. What waits for a caller who has `left` is not read. All also return the errors of
// QueryPool::Run; tasks run once they are awaited, and this object outlives them. Sessions are
// presented.
class WatchReader {
 public:
  // REQUIRES: `store` outlives the reader.
  WatchReader(WatchReaderOptions options, SessionStore& store);

  // Each partition's position.
  Answer<PartitionStates> GetPartitions(CallerLeft left = nullptr);
  // The time of the oldest event after all removed ones; nothing if none was removed.
  Answer<std::optional<absl::Time>> GetOldestResumable(CallerLeft left = nullptr);
  // REQUIRES: `ranges` ascend, one for each partition at most, and have no more than
  // kStoredEventsMax positions.
  Answer<StoredEvents> GetEvents(std::vector<PositionRange> ranges, Rewinding rewinding,
                                 std::size_t message_bytes_max, CallerLeft left = nullptr);
  // One page of sessions, from the beginning or after these key values, of at most so many bytes if
  // it is more than one.
  Answer<AsOf<Page<v1::Session>>> GetSessions(SessionSelection selection, KeyValues after,
                                              int page_size, std::size_t bytes_max,
                                              CallerLeft left = nullptr);
  // Those of these sessions that exist and are in scope, in the order of ids.
  Answer<AsOf<std::vector<v1::Session>>> GetNamedSessions(std::vector<std::string> session_ids,
                                                          Scope scope, CallerLeft left = nullptr);

  // Refuses all from now on, including those that wait.
  void Shutdown() { pool_.Shutdown(); }

 private:
  Deadline Until(CallerLeft left) const { return {SteadyTime::Now() + timeout_, left}; }
  // A server that lacks any of them is refused from now on. `timeline`: Primary's, from before.
  void Saw(const PartitionStates& states, int32_t timeline) {
    store_.primary()->Saw(states.positions, timeline);
  }

  SessionStore& store_;
  const absl::Duration timeout_;
  QueryPool pool_;
};

}  // namespace sessiond::db
