// Reads by id, grouped like writes: one thread, one connection, and whatever waits is looked up in
// one statement. Sessions read before are kept, and the statement tells only of those that have
// changed since: every read asks the database, and hardly any carries a row.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "db/connection.h"
#include "db/inbox.h"
#include "db/kept_sessions.h"
#include "db/lane_settings.h"
#include "server/state_machine/decide.h"
#include "server/state_machine/workflow_catalog.h"

namespace sessiond::db {

// Sessions to be looked up; it lives with whoever waits for it.
struct Lookup {
  // Well-formed ids, and the partition of each.
  std::vector<std::string> ids;
  std::vector<int16_t> partitions;
  absl::Time deadline = absl::InfiniteFuture();

  // Lane thread only, until Done: for each id its session, its tombstone, or neither. Sessions are
  // presented.
  absl::StatusOr<std::vector<Aggregate>> found = absl::UnknownError("not read");

  virtual ~Lookup() = default;
  // Called once, on the lane's thread. May destroy the lookup.
  virtual void Done() noexcept = 0;
};

class ReadLane {
 public:
  // `kept_bytes_max`: of the sessions kept.
  ReadLane(LaneSettings settings, InboxOptions inbox, std::size_t kept_bytes_max,
           WorkflowCatalog& catalog);
  ~ReadLane();

  // OVERLOADED or DRAINING: not taken on.
  absl::Status Submit(Lookup* lookup);
  void Drain();

 private:
  void Run();
  absl::Status ReadGroup(const std::vector<Lookup*>& group);
  absl::Status ReadOnce(const std::vector<Lookup*>& group);
  absl::Status PresentAll(const std::vector<Lookup*>& group);
  absl::Status FindTombstones(const std::vector<Lookup*>& group);

  const LaneSettings settings_;
  WorkflowCatalog& catalog_;
  Inbox<Lookup*> inbox_;
  std::unique_ptr<Connection> connection_;
  KeptSessions kept_;
  std::thread thread_;
};

}  // namespace sessiond::db
