// A cache by key that evicts the least recently used first. Newcomers have a fifth of the space,
// more only while it is free, until they are used again: a hundred thousand of them do not evict
// what is in use (2Q, Johnson and Shasha 1994, without its list of evicted keys).
#pragma once

#include <cstddef>
#include <iterator>
#include <list>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace sessiond::db {

// One thread at a time.
template <class Value>
class TwoQueues {
 public:
  explicit TwoQueues(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  TwoQueues(const TwoQueues&) = delete;
  TwoQueues& operator=(const TwoQueues&) = delete;

  // Caches the value, which takes `bytes`, in place of the one under the key.
  void Put(std::string key, Value value, std::size_t bytes) {
    const bool known = by_key_.contains(key);
    Erase(key);
    // Including roughly what the list and the index need.
    bytes += sizeof(Entry) + 100 + key.size();
    if (bytes > bytes_max_) return;
    MakeRoom(bytes);
    Queue& queue = known ? regulars_ : newcomers_;
    queue.bytes += bytes;
    queue.entries.push_front({std::move(key), std::move(value), bytes});
    by_key_[queue.entries.front().key] = {&queue, queue.entries.begin()};
  }

  void Erase(absl::string_view key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) EraseAt(found->second);
  }

  void Clear() {
    by_key_.clear();
    newcomers_ = {};
    regulars_ = {};
  }

  // Null if there is none. Valid until the next call that changes anything.
  const Value* Peek(absl::string_view key) const {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &found->second.entry->value;
  }

  // As Peek, and makes it a regular. It may be changed, but not in size.
  Value* Find(absl::string_view key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    Place& place = found->second;
    place.queue->bytes -= place.entry->bytes;
    regulars_.bytes += place.entry->bytes;
    regulars_.entries.splice(regulars_.entries.begin(), place.queue->entries, place.entry);
    place.queue = &regulars_;
    return &place.entry->value;
  }

 private:
  struct Entry {
    std::string key;
    Value value;
    std::size_t bytes;
  };
  // Most recently used first.
  struct Queue {
    std::list<Entry> entries;
    std::size_t bytes = 0;
  };
  struct Place {
    Queue* queue;
    typename std::list<Entry>::iterator entry;
  };

  void MakeRoom(std::size_t bytes) {
    while (newcomers_.bytes + regulars_.bytes + bytes > bytes_max_) {
      const bool too_many = newcomers_.bytes + bytes > bytes_max_ / 5;
      Queue& queue = regulars_.entries.empty() || (too_many && !newcomers_.entries.empty())
                         ? newcomers_
                         : regulars_;
      EraseAt({&queue, std::prev(queue.entries.end())});
    }
  }

  void EraseAt(Place place) {
    place.queue->bytes -= place.entry->bytes;
    by_key_.erase(place.entry->key);
    place.queue->entries.erase(place.entry);
  }

  const std::size_t bytes_max_;
  Queue newcomers_, regulars_;
  // The keys are in the queues.
  absl::flat_hash_map<absl::string_view, Place> by_key_;
};

}  // namespace sessiond::db
