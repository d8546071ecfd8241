// What this process has seen of its database, and with it whether a server is that database's
// primary today. After a failover the old primary may come back, first, and accept writes that
// nobody will ever see; a backup may be put in the place of what is lost. Whoever speaks to the
// database asks its server what it is (link.h), and what was seen decides.
//
//   a server says what it is ──▶ Weigh ──▶ fit: from now on this is what was seen
//                                     └──▶ not fit, and why
//   a lane has committed ──────▶ Acknowledged
//
// A database leaves nothing that an old primary could know of its successor: what nobody in this
// process has seen yet cannot be told apart.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace sessiond::db {

// What a server says of itself. What it was not asked, or could not say, is left empty.
struct ServerState {
  bool in_recovery = false;
  bool read_only = false;
  // Of the cluster: a standby has its primary's.
  int64_t system_identifier = 0;
  // Each promotion begins a new one. 0 in recovery.
  int32_t timeline = 0;
  // How far each partition is.
  std::vector<int64_t> positions;
};

// The highest of what fit servers said of themselves; empty for nothing.
struct Seen {
  int64_t system_identifier = 0;
  int32_t timeline = 0;
  std::vector<int64_t> positions;
};

enum class Verdict {
  kFit,
  kStandby,
  kReadOnly,
  // These three are refused loudly: the server would take writes.
  kOtherDatabase,
  kOldTimeline,
  kChangesMissing,
};

// `writes`: a connection that only reads may do so on a primary that somebody made read-only.
Verdict Judge(const ServerState& state, const Seen& seen, bool writes);

// Which of the servers to take, of which there is at least one: a fit one, of those the one with
// the highest timeline; the first of equals. Where none is fit, the one that comes nearest.
std::size_t Choose(absl::Span<const ServerState> servers, const Seen& seen);

// Thread-safe.
class Primary {
 public:
  Seen seen() const;
  // The highest timeline seen.
  int32_t timeline() const { return timeline_; }

  // OK: the server is fit, by what had been seen `before` it was asked, and is now part of what was
  // seen. UNAVAILABLE, as for a database that cannot be reached: it is not; TroubleOf
  // (sql_error.h) says why.
  absl::Status Weigh(const ServerState& state, const Seen& before, bool writes);
  // Callers will be told that this was committed: by partition, its position.
  void Acknowledged(const std::map<int16_t, int64_t>& positions);

  // Why the server that is reached is refused, and the way out: a sentence for an operator. OK
  // where none is.
  absl::Status refusal() const;

  // How often an open connection turned out to lead elsewhere: each time, all others are asked.
  int64_t doubts() const { return doubts_; }
  void Doubt() { ++doubts_; }
  // How often an open connection turned out to have fallen silent: each time, the others' next
  // silence is looked into sooner.
  int64_t silences() const { return silences_; }
  void FellSilent() { ++silences_; }
  // How often a connection was opened: then the database is there, for others, too.
  int64_t openings() const { return openings_; }
  void Opened() { ++openings_; }

 private:
  void Refuse(const std::string& why);

  mutable absl::Mutex mutex_;
  Seen seen_ ABSL_GUARDED_BY(mutex_);
  std::string refusal_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int32_t> timeline_ = 0;
  std::atomic<int64_t> doubts_ = 0, silences_ = 0, openings_ = 0;
};

}  // namespace sessiond::db
