// Where work waits for a lane: many threads put items in; one thread or several take them out, each
// time all there are, up to a group's limits. What is not accepted is refused here.
#pragma once

#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "state_machine/refusal.h"

namespace sessiond::db {

struct InboxOptions {
  // More than this many items, or bytes, waiting is overload.
  std::size_t items_max = 4096;
  std::size_t bytes_max = 64 << 20;
  // The most taken out at once.
  std::size_t group_items_max = 256;
  std::size_t group_bytes_max = 1 << 20;
  // What waits, and what the caller can do instead of waiting: words for refusals.
  absl::string_view items = "changes";
  absl::string_view elsewhere = kRetryElsewhere;
};

// `Item` is cheap to copy: a pointer to what waits.
template <class Item>
class Inbox {
 public:
  explicit Inbox(InboxOptions options) : options_(options) {}

  // OVERLOADED: too many items wait already. DRAINING: it is closed.
  absl::Status Push(Item item, std::size_t bytes) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return Draining(options_.elsewhere);
    if (waiting_.size() >= options_.items_max || bytes_ + bytes > options_.bytes_max)
      return Overloaded(options_.items);
    waiting_.push_back({item, bytes});
    bytes_ += bytes;
    if (waiting_.size() == 1) arrived_.Signal();
    return absl::OkStatus();
  }

  // Waits for at least one item, then takes the oldest ones into `group`: at most group_items_max,
  // and no more once group_bytes_max is reached. False when the inbox is closed and empty.
  bool Take(std::vector<Item>* group) {
    absl::MutexLock lock(&mutex_);
    while (waiting_.empty() && !closed_) arrived_.Wait(&mutex_);
    const bool taken = TakeLocked(group);
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

 private:
  struct Entry {
    Item item;
    std::size_t bytes;
  };

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

  const InboxOptions options_;
  mutable absl::Mutex mutex_;
  absl::CondVar arrived_;
  std::deque<Entry> waiting_ ABSL_GUARDED_BY(mutex_);
  std::size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

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
