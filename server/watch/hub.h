// The hub: committed changes in, watches out.
//
//   lanes ──Publish──▶ ┐ each partition's changes in     ┌▶ queue of a live watch ──Take──▶ stream
//                      ├▶ the order of their positions ──┤    (marks only; bounded)
//   database ──Fill──▶ ┘ (what is early waits)           └▶ log: the last changes, bounded by bytes
//                                                             ▲ a watch that fell behind reads here
//   database ◀───────── Missing, and what is no longer in the log: Taken::unread
//
// Positions are dense within a partition, so the hub knows what it has not seen. A change by this
// daemon comes from memory; one by another daemon is noticed as a gap, or by asking the database
// how far its partitions are, and is then read. Each watch has a cursor; it is live while the hub
// hands it every change it wants as it comes. A slow watch falls behind: its queue is dropped, its
// cursor stays, and it continues from the log or the database when it is ready. So a slow reader
// costs a few kilobytes, and delays nobody.
//
// No I/O, no threads, no clock. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/base/steady_time.h"
#include "server/watch/change.h"
#include "server/watch/interest.h"

namespace sessiond::watch {

using Range = db::PositionRange;

// The positions between the two, in these partitions, up to the size of one read.
std::vector<Range> RangesBetween(const Positions& after, const Positions& upto,
                                 const std::vector<int16_t>& partitions);

struct HubOptions {
  int partition_count = 64;
  // Bytes of changes in memory: some seconds of a busy daemon.
  std::size_t log_bytes_max = 32 << 20;
  // Marks queued for one watch: how far a stream may lag behind and still be live.
  std::size_t queue_max = 256;
  // Changes of a partition that wait for an earlier one; more are read from the database later.
  std::size_t early_max = 1024;
  // Called when the first watch starts, and when a change came before an earlier one: Missing will
  // soon return something. On any thread, without a lock.
  std::function<void()> on_missing = [] {};
};

class Subscription;

// The watches with the same interest.
struct Group {
  std::string canonical;
  std::shared_ptr<const Interest> interest;
  absl::flat_hash_set<Subscription*> members, live;
};

// One watch. Made by Hub::Subscribe.
class Subscription {
 public:
  Subscription(std::shared_ptr<const Interest> interest, std::function<void()> wake,
               absl::Duration heartbeat_interval)
      : interest_(std::move(interest)),
        wake_(std::move(wake)),
        heartbeat_interval_(heartbeat_interval) {}

  const Interest& interest() const { return *interest_; }
  // The stream has sent something. Thread-safe, like the following.
  void Spoke(SteadyTime now) { spoke_ = now; }
  // When it must send something again.
  SteadyTime silent_until() const { return spoke_.load() + heartbeat_interval_; }

 private:
  friend class Hub;
  // A queued change, in the log.
  struct Mark {
    int64_t position;
    int16_t partition;
    bool matches;
  };

  const std::shared_ptr<const Interest> interest_;
  const std::function<void()> wake_;
  const absl::Duration heartbeat_interval_;
  std::atomic<SteadyTime> spoke_ = SteadyTime::InfinitePast();

  // Guarded by the hub's mutex.
  Group* group_ = nullptr;
  SteadyTime beat_;
  bool live_ = false;
  // Everything wanted up to here was taken. A live watch's cursor is that of its first mark;
  // without marks the hub's own positions are as good.
  Positions cursor_;
  std::vector<Mark> queue_;
};

using SubscriptionPtr = std::shared_ptr<Subscription>;

struct Delivery {
  ChangePtr change;
  // The result of Interest::Judge.
  bool matches = false;
};

// What is available to a watch.
struct Taken {
  // In order.
  std::vector<Delivery> deliveries;
  // The positions of the watch after them.
  Positions positions;
  // More can be taken at once.
  bool more = false;
  // When not empty: to be read from the database, matched against the interest, sent, and then
  // reported with Advance.
  std::vector<Range> unread;
};

class Hub {
 public:
  // REQUIRES: `listener` outlives the hub, which notifies it whether there are watches.
  Hub(HubOptions options, db::CommittedListener& listener);

  // ---- watches

  // A watch of all changes after `from`. `now`: how far the database is, read no earlier than
  // `from`. `wake` is called whenever there is something to take, and when the watch has been
  // silent for `heartbeat_interval`; on any thread, without a lock.
  SubscriptionPtr Subscribe(std::shared_ptr<const Interest> interest, Positions from,
                            const Positions& now, SteadyTime time,
                            absl::Duration heartbeat_interval, std::function<void()> wake);
  void Unsubscribe(const SubscriptionPtr& subscription);

  // What is available now. With nothing to deliver and nothing unread the watch is live, and is
  // woken when that changes.
  Taken Take(Subscription& subscription);
  // These ranges were read and sent: those that Take returned as unread, or those that the hub has
  // not seen yet.
  void Advance(Subscription& subscription, absl::Span<const Range> ranges);

  // ---- changes

  // Whether there are watches. Without any, nothing is stored.
  bool awake() const;
  // From memory, in order for each partition.
  void Publish(std::vector<ChangePtr> changes);
  // The database has reached at least these positions.
  void Saw(const Positions& positions);
  // What is missing and should be read, `events_max` positions in all, beginning at this partition.
  std::vector<Range> Missing(int64_t events_max, int first = 0) const;
  // Everything that is left of these ranges: other positions were removed. REQUIRES: both ascend by
  // partition, and the changes by position.
  void Fill(absl::Span<const Range> ranges, std::vector<ChangePtr> changes);

  // ---- time

  // Wakes the watches that have been silent for too long. Returns when to call it again.
  SteadyTime Beat(SteadyTime now);

  // The number of watches.
  std::size_t subscriptions() const;

 private:
  struct Logged {
    ChangePtr change;  // Null: removed from the database before the hub saw it.
    std::size_t bytes = 0;
  };
  using Wakes = std::vector<SubscriptionPtr>;

  static void WakeAll(const Wakes& wakes);
  Group* GroupOf(const std::shared_ptr<const Interest>& interest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveGroup(Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FallAsleep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // False: an earlier one is missing.
  bool Arrive(ChangePtr change, Wakes* wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Append(ChangePtr change, Wakes* wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendEarly(int16_t partition, Wakes* wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PassHole(int16_t partition, int64_t upto) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Log(int16_t partition, Logged logged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Dispatch(const Change& change, Wakes* wakes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Push(Subscription& subscription, const Change& change, bool matches, Wakes* wakes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The first position of a partition in the log.
  int64_t Oldest(int16_t partition) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return positions_[partition] - static_cast<int64_t>(log_[partition].size()) + 1;
  }
  void TakeQueue(Subscription& subscription, Taken* taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeLog(Subscription& subscription, Taken* taken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Range> Unread(const Subscription& subscription) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FallBehind(Subscription& subscription) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CatchUp(Subscription& subscription) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const HubOptions options_;
  db::CommittedListener& listener_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<Subscription*, SubscriptionPtr> subscriptions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::unique_ptr<Group>> groups_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::vector<Group*>> groups_by_key_ ABSL_GUARDED_BY(mutex_);
  // The number of keys of each kind.
  std::array<int, kKeyKinds> kinds_ ABSL_GUARDED_BY(mutex_) = {};
  absl::btree_set<std::pair<SteadyTime, Subscription*>> beats_ ABSL_GUARDED_BY(mutex_);

  // Seen without a gap up to here, and how far the database is at least.
  Positions positions_ ABSL_GUARDED_BY(mutex_), seen_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::map<int64_t, ChangePtr>> early_ ABSL_GUARDED_BY(mutex_);
  // By partition, ending at its position.
  std::vector<std::deque<Logged>> log_ ABSL_GUARDED_BY(mutex_);
  // The partitions of all logged changes, oldest first.
  std::deque<int16_t> order_ ABSL_GUARDED_BY(mutex_);
  std::size_t log_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sessiond::watch
