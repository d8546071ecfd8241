// Reads by id, grouped like writes: whatever waits is looked up in one trip. Sessions read before
// are kept as they were answered, and the database tells only of those that have changed since:
// every read asks it, and hardly any carries a row. Of many it does not even look those up whose
// partition stands where it stood when they were read, for every change of what is kept moves that
// position.
//
// Sessions that are not kept may have to come from the disk, one page after the other. Unless one
// is asked for alone, they are read beside, by a few threads with connections of their own: what is
// kept does not wait for them, and the disk has more to do at a time.
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
#include "db/base/inbox.h"
#include "db/connection/lane_settings.h"
#include "db/read/read_cache.h"
#include "state_machine/decide.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// What became of an id: its session, its tombstone, or neither.
struct FoundSession {
  std::shared_ptr<const PresentedSession> session;
  std::optional<Tombstone> tombstone;

  Aggregate ToAggregate() const;
  // CheckExists.
  absl::Status Check(absl::string_view session_id, bool include_deleted) const;
};

// Sessions to be looked up; it lives with whoever waits for it.
struct Lookup {
  // Well-formed ids, and the partition of each.
  std::vector<std::string> ids;
  std::vector<int16_t> partitions;
  Deadline deadline;
  // The lane's: not to be read beside, where that was not possible.
  bool stays = false;

  // The lane's, until Done: of each id.
  absl::StatusOr<std::vector<FoundSession>> found = absl::UnknownError("not read");

  virtual ~Lookup() = default;
  // Called once, on a thread of the lane's. May destroy the lookup.
  virtual void Done() noexcept = 0;
};

class ReadLane {
 public:
  // `kept_bytes_max`: of the sessions kept. REQUIRES: `catalog` and `clock` outlive the lane.
  ReadLane(LaneSettings settings, InboxOptions inbox, std::size_t kept_bytes_max,
           const WorkflowCatalog& catalog, const DatabaseClock& clock);
  ~ReadLane();

  // OVERLOADED or DRAINING: not taken on.
  absl::Status Submit(Lookup* lookup);
  void Drain();

 private:
  class Reader;

  void Read();
  void ReadBeside();
  // Leaves in `group` what is kept.
  void PassOn(std::vector<Lookup*>* group);

  const LaneSettings settings_;
  const WorkflowCatalog& catalog_;
  const DatabaseClock& clock_;
  Inbox<Lookup*> inbox_;
  Inbox<Lookup*> beside_;
  ReadCache memory_;

  std::thread thread_;
  std::vector<std::thread> threads_beside_;
};

}  // namespace sessiond::db
