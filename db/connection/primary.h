// What this process has seen of its database, and so whether a server is that database's primary
// today. After a failover the old primary may come back first, and accept writes that will be lost;
// a backup may be restored in place of a lost database. Every link asks its server for its state
// (link.h), and compares it with what was seen.
//
//   a server says what it is ──▶ Weigh ──▶ fit: from now on this is what was seen
//                                     └──▶ not fit, and why
//   a lane has committed ──────▶ Acknowledged
//   a watch is told ───────────▶ Saw
//
// An old primary does not know that it was replaced: only a process that saw its successor does.
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

// A server's state as it reports it. What it was not asked, or could not report, is empty.
struct ServerState {
  bool in_recovery = false;
  bool read_only = false;
  // The cluster's: a standby has the same as its primary.
  int64_t system_identifier = 0;
  // Each promotion starts a new one. 0 in recovery.
  int32_t timeline = 0;
  // Each partition's position.
  std::vector<int64_t> positions;
};

// The highest values that fit servers reported; empty for none.
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

// `writes`: a connection that only reads may use a primary that was made read-only.
Verdict Judge(const ServerState& state, const Seen& seen, bool writes);

// Which of the servers to choose: the fit one with the highest timeline; the first of equals. If
// none is fit, the one closest to it. REQUIRES: at least one.
std::size_t Choose(absl::Span<const ServerState> servers, const Seen& seen);

// Thread-safe.
class Primary {
 public:
  Seen seen() const;
  // The highest timeline seen.
  int32_t timeline() const { return timeline_; }

  // OK: the server is fit, compared with what had been seen `before` it was asked, and its state is
  // now part of what was seen. UNAVAILABLE, as for a database that cannot be reached: it is not
  // fit; TroubleOf (sql_error.h) says why.
  absl::Status Weigh(const ServerState& state, const Seen& before, bool writes);
  // Callers will be answered that this was committed: by partition, its position.
  void Acknowledged(const std::map<int16_t, int64_t>& positions);

  // Watches are told of all up to these: by partition, its position. `timeline`: the highest one
  // seen when they were asked for; if there is a newer one by now, they may be the old primary's.
  void Saw(absl::Span<const int64_t> positions, int32_t timeline);

  // Why the server that is reached is refused, and what to do: a sentence for an operator. OK if
  // none is refused.
  absl::Status refusal() const;

  // How often an open connection turned out to lead elsewhere: each time, all others are asked.
  int64_t doubts() const { return doubts_; }
  void Doubt() { ++doubts_; }
  // How often an open connection turned out to have fallen silent: each time, the others' next
  // silence is checked sooner.
  int64_t silences() const { return silences_; }
  void FellSilent() { ++silences_; }
  // How often a connection was opened: then others can reach the database, too.
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
