// Reads by id, grouped like writes: all that wait are looked up in one round trip. Sessions are
// cached as they were sent, and the database returns only those that have changed since: every read
// asks it, and hardly any fetches a row. In large groups it does not even look up sessions whose
// partition's position is as it was when they were read, since every change of what is cached moves
// that position.
//
// Sessions that are not cached may have to come from the disk, one page after the other. Unless one
// is asked for alone, overflow readers read them, a few threads with connections of their own:
// cached sessions do not wait for them, and the disk serves more reads in parallel.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/base/database_clock.h"
#include "db/base/deadline.h"
#include "db/base/lane_inbox.h"
#include "db/connection/lane_settings.h"
#include "db/read/read_cache.h"
#include "state_machine/decide.h"
#include "state_machine/scope.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// What was found for an id: its session, its tombstone, or neither.
struct FoundSession {
  std::shared_ptr<const PresentedSession> session;
  std::optional<Tombstone> tombstone;

  Aggregate ToAggregate() const;
  // Leaves nothing that is out of scope.
  void Hide(const Scope& scope);
  // CheckExists.
  absl::Status Check(absl::string_view session_id, bool include_deleted) const;
};

// Sessions to be looked up; its waiter owns it.
struct Lookup {
  // Well-formed ids, and the partition of each.
  std::vector<std::string> ids;
  std::vector<int16_t> partitions;
  Deadline deadline;
  // What is out of it is not even loaded: neither time nor memory shows whether it is there.
  Scope scope;
  // The lane's: not for the overflow readers, because they could not connect.
  bool stays = false;

  // The lane's, until Done: the result for each id.
  absl::StatusOr<std::vector<FoundSession>> found = absl::UnknownError("not read");

  virtual ~Lookup() = default;
  // Called once, on one of the lane's threads. May destroy the lookup.
  virtual void Done() noexcept = 0;
};

class ReadLane {
 public:
  // `cache_bytes_max`: of all cached sessions. REQUIRES: `catalog` and `clock` outlive the lane.
  ReadLane(LaneSettings settings, LaneInboxOptions inbox, std::size_t cache_bytes_max,
           const WorkflowCatalog& catalog, const DatabaseClock& clock);
  ~ReadLane();

  // OVERLOADED or DRAINING: not accepted.
  absl::Status Submit(Lookup* lookup);
  void Drain();

 private:
  class Reader;

  void Read();
  void ReadOverflow();
  // Leaves in `group` what is cached.
  void PassOn(std::vector<Lookup*>* group);

  const LaneSettings settings_;
  const WorkflowCatalog& catalog_;
  const DatabaseClock& clock_;
  LaneInbox<Lookup*> inbox_;
  LaneInbox<Lookup*> overflow_;
  ReadCache cache_;

  std::thread thread_;
  std::vector<std::thread> overflow_threads_;
};

}  // namespace sessiond::db
