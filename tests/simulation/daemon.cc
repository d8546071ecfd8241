#include "tests/simulation/daemon.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/connection/sql_error.h"
#include "db/write/lane.h"
#include "server/watch/watching.h"
#include "state_machine/filter.h"
#include "state_machine/present.h"
#include "state_machine/timestamps.h"

namespace sessiond::simulation {
namespace {

constexpr std::size_t kCachedBytes = 6 << 10;

// Small, so that watches fall behind.
watch::HubOptions HubOf(Random& random) {
  watch::HubOptions options{.partition_count = kPartitions};
  options.log_bytes_max = random.OneIn(3) ? std::size_t{32} << 10 : std::size_t{256} << 10;
  options.queue_max = random.OneIn(2) ? 2 : 16;
  options.early_max = random.OneIn(2) ? 1 : 8;
  return options;
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// round trips

ModelRoundTrips::ModelRoundTrips(Surroundings all, std::shared_ptr<Process> process)
    : all_(all), process_(std::move(process)) {}

ModelRoundTrips::~ModelRoundTrips() {
  if (backend_ != nullptr && backend_->alive) all_.database.End(*backend_);
}

bool ModelRoundTrips::CutOff() const {
  return process_->crashed || process_->cut_until > all_.scheduler.now();
}

SteadyTime ModelRoundTrips::lost_since() const {
  return process_->crashed ? SteadyTime::InfinitePast() : lost_since_;
}

absl::Status ModelRoundTrips::Lost() {
  if (lost_since_ == SteadyTime::InfiniteFuture()) lost_since_ = SteadyTime::Now();
  return db::ConnectionLost("cut");
}

absl::Status ModelRoundTrips::Connect() {
  if (backend_ != nullptr && backend_->alive) return absl::OkStatus();
  backend_ = nullptr;
  all_.scheduler.Sleep(
      all_.scheduler.random().Between(absl::Microseconds(300), absl::Milliseconds(20)));
  if (CutOff() || !all_.database.up()) return Lost();
  backend_ = all_.database.Connect();
  ++openings_;
  lost_since_ = SteadyTime::InfiniteFuture();
  return absl::OkStatus();
}

void ModelRoundTrips::Close() {
  if (backend_ != nullptr) Abandon(absl::Milliseconds(20));
  if (lost_since_ == SteadyTime::InfiniteFuture()) lost_since_ = SteadyTime::Now();
}

// The server notices later.
void ModelRoundTrips::Abandon(absl::Duration most) {
  const Surroundings all = all_;
  all.scheduler.Spawn(process_->machine, [all, most, process = process_,
                                          backend = std::exchange(backend_, nullptr)] {
    all.scheduler.Sleep(all.scheduler.random().Between(absl::Microseconds(100), most));
    if (backend->alive) all.database.End(*backend);
  });
}

absl::Status ModelRoundTrips::RoundTrip(const Statements& statements, const Statements& late) {
  Scheduler& scheduler = all_.scheduler;
  Random& random = scheduler.random();
  if (backend_ == nullptr || !backend_->alive) {
    backend_ = nullptr;
    return Lost();
  }
  const ModelDatabase::BackendPtr backend = backend_;
  enum class Fate { kArrives, kLostBefore, kLate, kLostAfter } fate = Fate::kArrives;
  if (all_.faults.on && random.OneIn(all_.faults.cut_one_in)) {
    ++all_.faults.cuts;
    const int drawn = random.Below(3);
    fate = drawn == 0 ? Fate::kLostBefore : drawn == 1 ? Fate::kLate : Fate::kLostAfter;
  }
  const auto on_the_wire = [&] {
    const bool slow = all_.faults.on && random.OneIn(all_.faults.slow_one_in);
    scheduler.Sleep(
        random.Between(absl::Microseconds(30), slow ? absl::Seconds(9) : absl::Milliseconds(2)));
    return backend->alive && !CutOff();
  };
  if (fate == Fate::kLate) {
    const Surroundings all = all_;
    scheduler.Spawn(process_->machine, [all, late, process = process_, backend] {
      all.scheduler.Sleep(all.scheduler.random().Between(absl::Milliseconds(1), absl::Seconds(8)));
      if (backend->alive) late(*backend);
      if (backend->alive) all.database.End(*backend);
    });
    backend_ = nullptr;
    scheduler.Sleep(random.Between(absl::Microseconds(100), absl::Seconds(1)));
    return Lost();
  }
  bool there = on_the_wire();
  if (there && fate != Fate::kLostBefore) {
    statements(*backend);
    there = fate != Fate::kLostAfter && on_the_wire();
  } else {
    there = false;
  }
  if (there) return absl::OkStatus();
  if (backend_ != nullptr) Abandon(absl::Seconds(4));
  return Lost();
}

absl::StatusOr<db::GroupFinds> ModelRoundTrips::LookUp(const db::GroupLookups& lookups,
                                                       SteadyTime) {
  absl::StatusOr<db::GroupFinds> finds = absl::UnknownError("");
  // All that a late one does is to lock.
  db::GroupLookups locks{.partitions = lookups.partitions, .lock = lookups.lock};
  auto trip = RoundTrip(
      [&](ModelDatabase::Backend& backend) { finds = all_.database.LookUp(backend, lookups); },
      [locks, database = &all_.database](ModelDatabase::Backend& backend) {
        database->LookUp(backend, locks).IgnoreError();
      });
  if (!trip.ok()) return trip;
  return finds;
}

absl::StatusOr<db::Written> ModelRoundTrips::Write(const db::GroupRows& rows, SteadyTime) {
  const auto writes = std::make_shared<const Writes>(rows);
  absl::StatusOr<db::Written> written = absl::UnknownError("");
  auto trip = RoundTrip(
      [&](ModelDatabase::Backend& backend) { written = all_.database.Write(backend, *writes); },
      [writes, database = &all_.database](ModelDatabase::Backend& backend) {
        database->Write(backend, *writes).IgnoreError();
      });
  if (!trip.ok()) return trip;
  // A standby has not confirmed it.
  if (written.ok() && all_.faults.on && all_.scheduler.random().OneIn(100))
    return db::CommitInDoubt();
  return written;
}

absl::Status ModelRoundTrips::End(bool) { return RollBack(); }

absl::Status ModelRoundTrips::RollBack() {
  absl::Status ended;
  const auto end = [database = &all_.database](ModelDatabase::Backend& backend) {
    return database->EndTransaction(backend);
  };
  auto trip = RoundTrip([&](ModelDatabase::Backend& backend) { ended = end(backend); },
                        [end](ModelDatabase::Backend& backend) { end(backend).IgnoreError(); });
  return trip.ok() ? ended : trip;
}

absl::StatusOr<db::FoundLocked> ModelRoundTrips::FindLocked(
    const std::vector<int16_t>& partitions, const std::vector<db::SessionKey>& sessions) {
  std::vector<std::string> ids;
  for (const db::SessionKey& key : sessions) ids.emplace_back(key.id);
  db::FoundLocked found;
  auto trip =
      RoundTrip([&](ModelDatabase::Backend&) { found = all_.database.FindLocked(partitions, ids); },
                [](ModelDatabase::Backend&) {});
  if (!trip.ok()) return trip;
  return found;
}

// -------------------------------------------------------------------------------------------------
// reads of watches

absl::Status ModelReads::Reach() {
  Random& random = all_.scheduler.random();
  all_.scheduler.Sleep(random.Between(absl::Microseconds(100), absl::Milliseconds(5)));
  const bool cut = process_->crashed || process_->cut_until > all_.scheduler.now() ||
                   !all_.database.up() || (all_.faults.on && random.OneIn(200));
  return cut ? db::ConnectionLost("cut") : absl::OkStatus();
}

void ModelReads::Present(v1::Session* session) const {
  const auto workflow = all_.catalog.Find(session->workflow(), session->workflow_revision());
  sessiond::Present(*workflow, all_.database.Now(), session);
}

Answer<db::PartitionStates> ModelReads::GetPartitions(db::CallerLeft) {
  if (absl::Status reached = Reach(); !reached.ok()) co_return reached;
  db::PartitionStates states = all_.database.Partitions();
  if (pages_ != nullptr) pages_->begun_at = states.positions;
  co_return states;
}

Answer<std::optional<absl::Time>> ModelReads::GetOldestResumable(db::CallerLeft) {
  co_return std::optional<absl::Time>(all_.database.Now());
}

Answer<db::StoredEvents> ModelReads::GetEvents(std::vector<db::PositionRange> ranges,
                                               db::Rewinding rewinding, std::size_t,
                                               db::CallerLeft) {
  // Not all of it may fit into one read.
  auto& random = all_.scheduler.random();
  if (random.OneIn(4)) ranges = watch::FirstOf(ranges, 1 + random.Below(5));
  for (;;) {
    if (absl::Status reached = Reach(); !reached.ok()) co_return reached;
    db::StoredEvents stored = all_.database.Events(ranges);
    if (absl::Status reached = Reach(); !reached.ok()) co_return reached;
    if (!all_.database.AddRest(&stored, rewinding)) continue;
    for (auto& [id, session] : stored.sessions) Present(session.get());
    co_return stored;
  }
}

Answer<db::AsOf<db::Page<v1::Session>>> ModelReads::GetSessions(db::SessionSelection selection,
                                                                db::KeyValues after, int page_size,
                                                                std::size_t, db::CallerLeft) {
  if (absl::Status reached = Reach(); !reached.ok()) co_return reached;
  db::AsOf<db::Page<v1::Session>> page{.partitions = all_.database.Partitions()};
  const auto key_of = [](const v1::Session& session) {
    return std::pair(absl::ToUnixMicros(FromProto(session.create_time())), session.session_id());
  };
  const auto begin = after.empty()
                         ? std::pair(int64_t{0}, std::string())
                         : std::pair(static_cast<int64_t>(std::stoll(after[0])), after[1]);
  auto& rows = page.found.rows;
  for (v1::Session& session : all_.database.Sessions()) {
    const bool wanted = key_of(session) > begin &&
                        (selection.include_deleted || session.state() != v1::Session::DELETED) &&
                        Matches(selection.filter, session, absl::InfinitePast());
    if (!wanted) continue;
    if (rows.size() == page_size) {
      const auto [time, id] = key_of(*rows.rbegin());
      page.found.end = {absl::StrCat(time), id};
      break;
    }
    Present(&session);
    *rows.Add() = std::move(session);
  }
  if (pages_ != nullptr) {
    ReadPages::Page read{.as_of = page.partitions.positions};
    if (!page.found.end.empty()) read.last = key_of(*rows.rbegin());
    pages_->pages.push_back(std::move(read));
    pages_->sessions.insert(pages_->sessions.end(), rows.begin(), rows.end());
  }
  co_return page;
}

Answer<db::AsOf<std::vector<v1::Session>>> ModelReads::GetNamedSessions(
    std::vector<std::string> ids, Scope, db::CallerLeft) {
  if (absl::Status reached = Reach(); !reached.ok()) co_return reached;
  db::AsOf<std::vector<v1::Session>> page{all_.database.Partitions(), all_.database.Sessions(ids)};
  for (v1::Session& session : page.found) Present(&session);
  if (pages_ != nullptr) {
    pages_->pages.push_back({std::pair(int64_t{0}, ids.back()), page.partitions.positions});
    pages_->sessions.insert(pages_->sessions.end(), page.found.begin(), page.found.end());
  }
  co_return page;
}

// -------------------------------------------------------------------------------------------------
// the daemon

Daemon::Daemon(Surroundings all, std::shared_ptr<Process> process, int lanes)
    : all_(all),
      process_(std::move(process)),
      hub_(
          [this] {
            watch::HubOptions options = HubOf(all_.scheduler.random());
            options.on_missing = [this] { kicked_ = true; };
            return options;
          }(),
          listener_) {
  listener_.on_committed = [this](std::vector<db::CommittedEvent> events) {
    committed_.insert(committed_.end(), std::make_move_iterator(events.begin()),
                      std::make_move_iterator(events.end()));
  };
  const std::size_t cached = all_.scheduler.random().OneIn(8) ? 0 : kCachedBytes;
  for (int i = 0; i < lanes; ++i) {
    auto lane = std::make_unique<Lane>();
    db::LaneOptions queue{.committer = CommitterWith(0), .inbox = {.group_items_max = 4}};
    lane->lock_queue = std::make_unique<db::LockQueue>(queue, all_.catalog, clock_);
    lane->committer = std::make_unique<db::Committer>(
        CommitterWith(cached), std::make_unique<ModelRoundTrips>(all_, process_), all_.catalog,
        clock_);
    lane->queue_committer = std::make_unique<db::Committer>(
        CommitterWith(0), std::make_unique<ModelRoundTrips>(all_, process_), all_.catalog, clock_);
    lanes_.push_back(std::move(lane));
  }
}

db::CommitterOptions Daemon::CommitterWith(std::size_t cache_bytes_max) {
  db::CommitterOptions options;
  options.cache_bytes_max = cache_bytes_max;
  options.listener = &listener_;
  options.on_group = [this](const db::GroupReport& report) {
    const bool optimistic = report.committed && report.mode == db::CommitMode::kOptimistic;
    all_.faults.optimistic += optimistic ? 1 : 0;
    all_.faults.from_memory += optimistic && !report.looked_up ? 1 : 0;
    all_.faults.conflicts += report.conflict ? 1 : 0;
  };
  return options;
}

std::shared_ptr<Daemon> Daemon::Start(Surroundings all, std::shared_ptr<Process> process,
                                      int lanes) {
  std::shared_ptr<Daemon> daemon(new Daemon(all, std::move(process), lanes));
  const auto spawn = [&](auto run) {
    all.scheduler.Spawn(daemon->process_->machine, [daemon, run] { run(*daemon); });
  };
  for (std::size_t i = 0; i < daemon->lanes_.size(); ++i) {
    spawn([i](Daemon& self) { self.RunLane(*self.lanes_[i]); });
    spawn([i](Daemon& self) { self.RunLockQueue(*self.lanes_[i]); });
  }
  spawn([](Daemon& self) { self.Dispatch(); });
  spawn([](Daemon& self) { self.Poll(); });
  return daemon;
}

bool Daemon::idle() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) {
    return lane->inbox.empty() && !lane->busy && !lane->queue_busy &&
           lane->lock_queue->waiting() == 0;
  });
}

void Daemon::Submit(db::Submission* submission) {
  lanes_[submission->partition % lanes_.size()]->inbox.push_back(submission);
}

// Lane::Run.
void Daemon::RunLane(Lane& lane) {
  Scheduler& scheduler = all_.scheduler;
  for (;;) {
    scheduler.Await([&] { return !lane.inbox.empty() || !open(); });
    if (lane.inbox.empty()) return;
    lane.busy = true;
    const int most = 1 + scheduler.random().Below(6);
    std::vector<db::Submission*> group;
    while (!lane.inbox.empty() && static_cast<int>(group.size()) < most) {
      group.push_back(lane.inbox.front());
      lane.inbox.pop_front();
    }
    db::Serve(&group, *lane.lock_queue, *lane.committer);
    lane.busy = false;
  }
}

// LockQueue::Run.
void Daemon::RunLockQueue(Lane& lane) {
  for (;;) {
    all_.scheduler.Await([&] { return lane.lock_queue->waiting() > 0 || (!open() && idle()); });
    if (lane.lock_queue->waiting() == 0) return;
    lane.queue_busy = true;
    if (!lane.lock_queue->Try(*lane.queue_committer)) all_.scheduler.Sleep(absl::Milliseconds(20));
    lane.queue_busy = false;
  }
}

// HubFeeder::Dispatch.
void Daemon::Dispatch() {
  SteadyTime beat = SteadyTime::InfiniteFuture();
  for (;;) {
    const absl::Duration rest = beat == SteadyTime::InfiniteFuture()
                                    ? absl::Minutes(5)
                                    : std::max(beat - SteadyTime::Now(), absl::Milliseconds(1));
    all_.scheduler.Await([&] { return !committed_.empty() || (!open() && idle()); },
                         all_.scheduler.now() + absl::ToInt64Nanoseconds(rest));
    if (!committed_.empty()) {
      std::vector<db::CommittedEvent> events;
      events.swap(committed_);
      hub_.Publish(watch::ChangesOf(std::move(events)));
    } else if (!open() && idle()) {
      return;
    }
    beat = hub_.Beat(SteadyTime::Now());
  }
}

// HubFeeder::Poll, which asks only after something has changed: asking for nothing is slow in
// virtual time, too.
void Daemon::Poll() {
  Scheduler& scheduler = all_.scheduler;
  ModelReads reads(all_, process_);
  watch::Positions seen;
  bool complete = true;
  for (;;) {
    scheduler.Await([&] {
      return !open() ||
             (hub_.awake() && (kicked_ || !complete || seen != all_.database.positions()));
    });
    if (!open()) return;
    if (!std::exchange(kicked_, false))
      scheduler.Sleep(scheduler.random().Between(absl::Milliseconds(1), absl::Milliseconds(100)));
    const auto states = Wait(reads.GetPartitions());
    if (states.ok()) {
      seen = states->positions;
      hub_.Saw(seen);
      if (!hub_.Missing(1).empty()) scheduler.Sleep(absl::Milliseconds(5));
    }
    complete = FetchMissing(reads) && states.ok();
  }
}

bool Daemon::FetchMissing(ModelReads& reads) {
  for (;;) {
    const std::vector<watch::Range> missing =
        hub_.Missing(all_.scheduler.random().OneIn(2) ? 3 : 500);
    if (missing.empty()) return true;
    auto stored = Wait(reads.GetEvents(missing, db::Rewinding::kAll, 0));
    if (!stored.ok()) return false;
    const std::vector<watch::Range> read = std::move(stored->ranges);
    hub_.Fill(read, watch::ChangesOf(*std::move(stored)));
  }
}

}  // namespace sessiond::simulation
