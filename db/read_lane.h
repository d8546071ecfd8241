// Reads by id, grouped like writes: one thread, one connection, and whatever waits is looked up in
// one trip. Sessions read before are kept as they were answered, and the database tells only of
// those that have changed since: every read asks it, and hardly any carries a row. Of many it does
// not even look those up whose partition stands where it stood when they were read, for every
// change of what is kept moves that position.
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
#include "db/connection.h"
#include "db/inbox.h"
#include "db/lane_settings.h"
#include "db/two_queues.h"
#include "server/state_machine/decide.h"
#include "server/state_machine/workflow_catalog.h"

namespace sessiond::db {

// A session for its readers.
struct PresentedSession {
  // As Protobuf, with what is derived for readers.
  std::string bytes;
  int32_t sequence;
  bool deleted;
  // Until then it is this, unless somebody changes it.
  absl::Time until;
};

// What became of an id: its session, its tombstone, or neither.
struct FoundSession {
  std::shared_ptr<const PresentedSession> session;
  std::optional<Tombstone> tombstone;

  Aggregate ToAggregate() const;
};

// Sessions to be looked up; it lives with whoever waits for it.
struct Lookup {
  // Well-formed ids, and the partition of each.
  std::vector<std::string> ids;
  std::vector<int16_t> partitions;
  absl::Time deadline = absl::InfiniteFuture();

  // Lane thread only, until Done: of each id.
  absl::StatusOr<std::vector<FoundSession>> found = absl::UnknownError("not read");

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
  struct Kept {
    std::shared_ptr<const PresentedSession> session;
    // Of its partition: it was read, or found unchanged, there or later. -1 if none is known.
    int64_t position;
  };

  void Run();
  absl::Status ReadGroup(const std::vector<Lookup*>& group);
  absl::Status ReadOnce(const std::vector<Lookup*>& group);
  // What was found at `now`, or nothing.
  void Keep(absl::string_view id, const std::shared_ptr<const PresentedSession>& session,
            absl::Time now, int64_t position);
  // Reads the workflows anew where the session keeps one that another daemon has made.
  absl::StatusOr<PresentedSession> Presented(v1::Session session);
  absl::Status FindTombstones(const std::vector<Lookup*>& group);

  const LaneSettings settings_;
  WorkflowCatalog& catalog_;
  Inbox<Lookup*> inbox_;
  std::unique_ptr<Connection> connection_;
  TwoQueues<Kept> kept_;
  std::thread thread_;
};

}  // namespace sessiond::db
