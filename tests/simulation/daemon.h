// One daemon: its lanes, lock queues, caches, clock, hub and streams are the real ones. What would
// be a thread is a fiber, and what would be a connection leads to the model database.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/base/coroutine.h"
#include "db/base/database_clock.h"
#include "db/base/deadline.h"
#include "db/base/page.h"
#include "db/base/selection.h"
#include "db/base/stored_events.h"
#include "db/write/committer.h"
#include "db/write/lock_queue.h"
#include "db/write/round_trips.h"
#include "server/watch/hub.h"
#include "state_machine/page_token.h"
#include "state_machine/workflow_catalog.h"
#include "tests/simulation/model_database.h"
#include "tests/simulation/scheduler.h"

namespace sessiond::simulation {

inline constexpr int kPartitions = 4;

// How often things go wrong.
struct Faults {
  bool on = true;
  // One in so many round trips is cut, or slow.
  int cut_one_in = 60, slow_one_in = 80;
  // Counted: connections cut; groups by how they ran.
  int64_t cuts = 0, optimistic = 0, from_memory = 0, conflicts = 0;
};

// What is the same for all of a run.
struct Surroundings {
  Scheduler& scheduler;
  ModelDatabase& database;
  WorkflowCatalog& catalog;
  const PageTokens& page_tokens;
  Faults& faults;
};

// Of one daemon's process.
struct Process {
  Machine machine;
  // It is no more: what it still does reaches nobody.
  bool crashed = false;
  // It takes no more calls, and ends when all is answered.
  bool draining = false;
  // Its network leads nowhere until then.
  Instant cut_until = 0;
};

// A lane's connection, or its lock queue's.
class ModelRoundTrips : public db::RoundTrips {
 public:
  ModelRoundTrips(Surroundings all, std::shared_ptr<Process> process);
  ~ModelRoundTrips() override;

  absl::Status Connect() override;
  void Close() override;
  int openings() const override { return openings_; }
  SteadyTime lost_since() const override;
  void Pause(absl::Duration duration) override { all_.scheduler.Sleep(duration); }
  absl::StatusOr<db::GroupFinds> LookUp(const db::GroupLookups& lookups, SteadyTime until) override;
  absl::StatusOr<db::Written> Write(const db::GroupRows& rows, SteadyTime until) override;
  absl::Status End(bool commit) override;
  absl::Status RollBack() override;
  absl::StatusOr<db::FoundLocked> FindLocked(const std::vector<int16_t>& partitions,
                                             const std::vector<db::SessionKey>& sessions) override;

 private:
  using Statements = std::function<void(ModelDatabase::Backend&)>;

  absl::Status Lost();
  bool CutOff() const;
  // `late`: what is left to do when it arrives after the connection was given up.
  absl::Status RoundTrip(const Statements& statements, const Statements& late);
  void Abandon(absl::Duration most);

  const Surroundings all_;
  const std::shared_ptr<Process> process_;
  ModelDatabase::BackendPtr backend_;
  int openings_ = 0;
  SteadyTime lost_since_ = SteadyTime::InfiniteFuture();
};

// What a watch read of its initial state, for checks.
struct ReadPages {
  struct Page {
    // Of the last session; of the last page none.
    std::optional<std::pair<int64_t, std::string>> last;
    watch::Positions as_of;
  };
  std::vector<Page> pages;
  std::vector<v1::Session> sessions;
  watch::Positions begun_at;
};

// As WatchReader.
class ModelReads {
 public:
  ModelReads(Surroundings all, std::shared_ptr<Process> process, ReadPages* pages = nullptr)
      : all_(all), process_(std::move(process)), pages_(pages) {}

  Answer<db::PartitionStates> GetPartitions(db::CallerLeft left = nullptr);
  Answer<std::optional<absl::Time>> GetOldestResumable(db::CallerLeft left);
  Answer<db::StoredEvents> GetEvents(std::vector<db::PositionRange> ranges, db::Rewinding rewinding,
                                     std::size_t, db::CallerLeft left = nullptr);
  Answer<db::AsOf<db::Page<v1::Session>>> GetSessions(db::SessionSelection selection,
                                                      db::KeyValues after, int page_size,
                                                      std::size_t, db::CallerLeft left);
  Answer<db::AsOf<std::vector<v1::Session>>> GetNamedSessions(std::vector<std::string> ids,
                                                              Scope scope, db::CallerLeft left);

 private:
  absl::Status Reach();
  void Present(v1::Session* session) const;

  const Surroundings all_;
  const std::shared_ptr<Process> process_;
  ReadPages* const pages_;
};

class Daemon : public std::enable_shared_from_this<Daemon> {
 public:
  // All its fibers keep it.
  static std::shared_ptr<Daemon> Start(Surroundings all, std::shared_ptr<Process> process,
                                       int lanes);

  void Submit(db::Submission* submission);
  watch::Hub& hub() { return hub_; }
  const std::shared_ptr<Process>& process() const { return process_; }
  bool open() const { return !process_->crashed && !process_->draining; }
  // Everything was answered, and all fibers but this one have let go of it.
  bool idle() const;

  // For watch::Watching.
  const PageTokens& page_tokens() const { return all_.page_tokens; }
  int partition_count() const { return kPartitions; }
  absl::Time Now() const { return clock_.Estimate(); }

 private:
  struct Lane {
    std::deque<db::Submission*> inbox;
    bool busy = false, queue_busy = false;
    std::unique_ptr<db::LockQueue> lock_queue;
    std::unique_ptr<db::Committer> committer, queue_committer;
  };

  Daemon(Surroundings all, std::shared_ptr<Process> process, int lanes);
  db::CommitterOptions CommitterWith(std::size_t cache_bytes_max);
  void RunLane(Lane& lane);
  void RunLockQueue(Lane& lane);
  void Dispatch();
  void Poll();
  bool FetchMissing(ModelReads& reads);

  const Surroundings all_;
  const std::shared_ptr<Process> process_;
  db::DatabaseClock clock_;
  db::CommittedListener listener_;
  watch::Hub hub_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  // What the lanes have committed.
  std::vector<db::CommittedEvent> committed_;
  bool kicked_ = false;
};

}  // namespace sessiond::simulation
