// The round trips that groups need, as values: what is asked, and what was found or written. The
// committer says which are made, and when (committer.h). Behind it is a connection
// (postgres_round_trips.h), or, in the simulation, a model of the database.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/steady_time.h"
#include "db/rows/set_params.h"
#include "db/write/group_lookups.h"
#include "db/write/group_rows.h"

namespace sessiond::db {

// What other transactions hold locked.
struct FoundLocked {
  absl::flat_hash_set<int16_t> partitions;
  // By SessionKey::ix.
  absl::flat_hash_set<int32_t> sessions;
};

// One thread. A status for which ConnectionIsGone: it is unknown what became of the round trip.
class RoundTrips {
 public:
  virtual ~RoundTrips() = default;

  // Does nothing if already connected.
  virtual absl::Status Connect() = 0;
  virtual void Close() = 0;
  // How often it was connected.
  virtual int openings() const = 0;
  // InfiniteFuture while it is connected.
  virtual SteadyTime lost_since() const = 0;
  // Before the next attempt to connect.
  virtual void Pause(absl::Duration duration) = 0;

  // `until`, here and below: when the last caller of the group stops waiting. REQUIRES, like the
  // following: connected.
  virtual absl::StatusOr<GroupFinds> LookUp(const GroupLookups& lookups, SteadyTime until) = 0;
  // Writes and commits.
  virtual absl::StatusOr<Written> Write(const GroupRows& rows, SteadyTime until) = 0;
  // Ends a transaction that holds locks, and has written nothing.
  virtual absl::Status End(bool commit) = 0;
  // Ends a transaction that has failed.
  virtual absl::Status RollBack() = 0;
  // Does not wait for locks.
  virtual absl::StatusOr<FoundLocked> FindLocked(const std::vector<int16_t>& partitions,
                                                 const std::vector<SessionKey>& sessions) = 0;
};

}  // namespace sessiond::db
