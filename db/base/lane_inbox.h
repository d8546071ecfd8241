// Where work waits for a lane: many threads put items in; one thread or several take them out, each
// time all there are, up to a group's limits. What is not accepted is refused here. What was
// accepted may still be refused, before anything of it was done: it has waited for too long, and
// others were turned away.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "db/base/importance.h"
#include "db/base/queue_delay.h"
#include "db/base/steady_time.h"
#include "state_machine/refusal.h"

namespace sessiond::db {

struct LaneInboxOptions {
  // More than this many items, or bytes, waiting is overload.
  std::size_t items_max = 4096;
  std::size_t bytes_max = 64 << 20;
  // The most taken out at once.
  std::size_t group_items_max = 256;
  std::size_t group_bytes_max = 1 << 20;
  // One thread takes groups out, and how long they take decides who is let in (queue_delay.h).
  bool sheds = false;
  SteadyTime (*now)() = SteadyTime::Now;
  // What waits, and what the caller can do instead of waiting: words for refusals.
  absl::string_view items = "changes";
  absl::string_view elsewhere = kRetryElsewhere;
};

// `Item` is cheap to copy: a pointer to what waits.
template <class Item>
class LaneInbox {
 public:
  explicit LaneInbox(LaneInboxOptions options) : options_(options) {}

  // OVERLOADED: too many items wait already, or it would wait in vain. DRAINING: it is closed.
  absl::Status Push(Item item, std::size_t bytes,
                    SteadyTime deadline = SteadyTime::InfiniteFuture(),
                    Importance importance = Importance::kNormal) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return Draining(options_.elsewhere);
    if (waiting_.size() >= options_.items_max || bytes_ + bytes > options_.bytes_max) {
      ++turned_away_[static_cast<int>(importance)];
      return Overloaded(options_.items);
    }
    if (const auto delay = Refuses(deadline, importance); delay.has_value()) {
      ++turned_away_[static_cast<int>(importance)];
      return Overloaded(options_.items, Spread(*delay));
    }
    waiting_.push_back({item, bytes, options_.now(), importance});
    bytes_ += bytes;
    if (waiting_.size() == 1) arrived_.Signal();
    return absl::OkStatus();
  }

  // Waits for at least one item, then takes the oldest ones into `group`: at most group_items_max,
  // and no more once group_bytes_max is reached. False when the inbox is closed and empty. For
  // each that was turned away since the last time, one at most as important that has waited for too
  // long goes into `late`, for RefuseLate: the oldest first, and none of the newest two groups.
  bool Take(std::vector<Item>* group, std::vector<Item>* late = nullptr) {
    absl::MutexLock lock(&mutex_);
    if (options_.sheds) delay_.Ended(options_.now());
    while (waiting_.empty() && !closed_) arrived_.Wait(&mutex_);
    if (late != nullptr) TakeLate(late);
    const bool taken = TakeLocked(group);
    if (options_.sheds) delay_.Began(!waiting_.empty(), options_.now());
    if (!waiting_.empty()) arrived_.Signal();  // Another thread takes the rest.
    return taken;
  }

  // From now on nothing is accepted; what waits is still taken.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    arrived_.SignalAll();
  }

  std::size_t size() const {
    absl::MutexLock lock(&mutex_);
    return waiting_.size();
  }

  // What is late is refused with this: OVERLOADED.
  absl::Status TooLate() {
    absl::MutexLock lock(&mutex_);
    return Overloaded(options_.items, Spread(late_retry_));
  }

  // OVERLOADED: an item of this deadline and importance would not be let in now.
  absl::Status Check(SteadyTime deadline, Importance importance) {
    absl::MutexLock lock(&mutex_);
    const auto delay = Refuses(deadline, importance);
    return delay.has_value() ? Overloaded(options_.items, Spread(*delay)) : absl::OkStatus();
  }
  // One was turned away because of what Check said.
  void TurnedAway(Importance importance) {
    absl::MutexLock lock(&mutex_);
    ++turned_away_[static_cast<int>(importance)];
  }

 private:
  struct Entry {
    Item item;
    std::size_t bytes;
    SteadyTime came;
    Importance importance;
  };

  // Of the wait that is allowed while the queue stands.
  static double ShareOf(Importance importance) {
    constexpr double kShares[] = {0.5, 1, 2};
    return kShares[static_cast<int>(importance)];
  }

  using Counts = std::array<std::size_t, kImportances>;

  // Two groups stay: the lane is not to be idle, and the queue is to stand until no more comes than
  // is done.
  void TakeLate(std::vector<Item>* late) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    late->clear();
    Counts turned_away = std::exchange(turned_away_, {});
    const SteadyTime now = options_.now();
    // When it is closed nobody needs room.
    if (turned_away == Counts{} || closed_ || !delay_.Stands(now)) return;
    late_retry_ = delay_.RetryIn(GroupsAhead(), now);
    std::array<SteadyTime, kImportances> late_before;
    for (int i = 0; i < kImportances; ++i)
      late_before[i] = delay_.LateBefore(ShareOf(static_cast<Importance>(i)), now);
    std::size_t left = waiting_.size() - TwoGroups();
    std::erase_if(waiting_, [&](const Entry& each) {
      if (left == 0) return false;
      --left;
      const int importance = static_cast<int>(each.importance);
      const auto for_whom = std::find_if(turned_away.begin() + importance, turned_away.end(),
                                         [](std::size_t count) { return count > 0; });
      if (for_whom == turned_away.end() || each.came >= late_before[importance]) return false;
      --*for_whom;
      late->push_back(each.item);
      bytes_ -= each.bytes;
      return true;
    });
  }

  // How many of the newest items are two groups, or a little more.
  std::size_t TwoGroups() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::size_t items = 0, bytes = 0;
    while (items < std::min(waiting_.size(), 2 * options_.group_items_max) &&
           bytes < 2 * options_.group_bytes_max) {
      // One that is larger than a group is a group.
      bytes += std::min(waiting_[waiting_.size() - ++items].bytes, options_.group_bytes_max);
    }
    return items;
  }

  bool TakeLocked(std::vector<Item>* group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    group->clear();
    std::size_t bytes = 0;
    while (!waiting_.empty() && group->size() < options_.group_items_max &&
           bytes < options_.group_bytes_max) {
      bytes += waiting_.front().bytes;
      group->push_back(waiting_.front().item);
      waiting_.pop_front();
    }
    bytes_ -= bytes;
    return !group->empty();
  }

  // Nothing, or when to come back.
  std::optional<absl::Duration> Refuses(SteadyTime deadline, Importance importance) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!options_.sheds) return std::nullopt;
    return delay_.Refuses(GroupsAhead(), deadline, ShareOf(importance), options_.now());
  }

  double GroupsAhead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::max(static_cast<double>(waiting_.size()) / options_.group_items_max,
                    static_cast<double>(bytes_) / options_.group_bytes_max);
  }

  // Up to half of it more or less, so that those who are refused do not all come back at once. By
  // the golden ratio successive numbers are spread evenly (Knuth, TAOCP 3, 6.4).
  absl::Duration Spread(absl::Duration delay) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return delay * (0.5 + (++refused_ * 2654435769u >> 16) / 65536.0);
  }

  const LaneInboxOptions options_;
  mutable absl::Mutex mutex_;
  absl::CondVar arrived_;
  std::deque<Entry> waiting_ ABSL_GUARDED_BY(mutex_);
  std::size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  QueueDelay delay_ ABSL_GUARDED_BY(mutex_);
  // By importance, since the last Take.
  Counts turned_away_ ABSL_GUARDED_BY(mutex_) = {};
  absl::Duration late_retry_ ABSL_GUARDED_BY(mutex_);
  uint32_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// Answers what Take has taken out as late, by `fail(item, why)` and Done.
template <class Item, class Fail>
void RefuseLate(const std::vector<Item*>& late, LaneInbox<Item*>& inbox, Fail fail) {
  for (Item* item : late) {
    fail(item, inbox.TooLate());
    item->Done();
  }
}

// Items whose caller no longer waits do not reach the database. Answers those whose `deadline` has
// passed, or whose caller has gone, by `fail(item, why)` and Done, and removes them from the group.
template <class Item, class Fail>
void AnswerExpired(std::vector<Item*>* group, Fail fail) {
  const SteadyTime now = SteadyTime::Now();
  std::erase_if(*group, [&](Item* item) {
    absl::Status why = item->deadline.Check(now);
    if (why.ok()) return false;
    fail(item, std::move(why));
    item->Done();
    return true;
  });
}

}  // namespace sessiond::db
