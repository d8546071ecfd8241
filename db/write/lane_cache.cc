#include "db/write/lane_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace sessiond::db {
namespace {

// If two daemons change a partition by turns, an optimistic attempt mostly fails, and costs three
// round trips (load, write, roll back). After this many undisturbed groups in a row, it is made
// only once in 256 times.
constexpr int kUndisturbedMin = 8;

// Half a megabyte each for the newer and the older requests: some seconds at full load.
constexpr std::size_t kRequestsMax = 16384;

absl::uint128 ToUint128(absl::string_view request_key) {
  absl::uint128 key;
  assert(request_key.size() == sizeof key);
  std::memcpy(&key, request_key.data(), sizeof key);
  return key;
}

}  // namespace

bool LaneCache::Observe(int16_t partition, int64_t position) {
  Partition& known = partitions_[partition];
  if (known.position == position) {
    known.undisturbed = std::min(known.undisturbed + 1, kUndisturbedMin);
    return true;
  }
  ++known.generation;
  known.undisturbed = 0;
  known.position = position;
  return false;
}

void LaneCache::Advance(int16_t partition, int64_t position) {
  partitions_[partition].position = position;
}

std::optional<int64_t> LaneCache::PositionOf(int16_t partition) const {
  const auto known = partitions_.find(partition);
  if (off_ || known == partitions_.end() || known->second.undisturbed < kUndisturbedMin)
    return std::nullopt;
  return known->second.position;
}

void LaneCache::Clear() {
  partitions_.clear();
  sessions_.Clear();
  newer_requests_.clear();
  older_requests_.clear();
}

void LaneCache::Put(int16_t partition, const v1::Session& session, bool blocking_errors) {
  if (blocking_errors || session.current_task().status() == v1::SessionTask::RUNNING)
    return Erase(session.session_id());
  Cached cached{session.SerializeAsString(), session.namespace_(), session.owner_id(),
                partitions_[partition].generation};
  const std::size_t bytes = cached.session.size();
  sessions_.Put(session.session_id(), std::move(cached), bytes);
}

void LaneCache::Erase(absl::string_view session_id) { sessions_.Erase(session_id); }

std::optional<v1::Session> LaneCache::Get(int16_t partition, absl::string_view session_id,
                                          absl::Span<const Scope* const> in) {
  const Cached* cached = sessions_.Find(session_id);
  if (cached == nullptr) return std::nullopt;
  const auto has = [cached](const Scope* scope) {
    return scope->Has(cached->namespace_name, cached->owner_id);
  };
  if (!in.empty() && std::none_of(in.begin(), in.end(), has)) return std::nullopt;
  v1::Session session;
  if (cached->generation == partitions_.at(partition).generation &&
      session.ParseFromString(cached->session)) {
    return session;
  }
  Erase(session_id);
  return std::nullopt;
}

void LaneCache::PutRequest(absl::string_view request_key) {
  if (newer_requests_.size() == kRequestsMax) {
    older_requests_ = std::move(newer_requests_);
    newer_requests_.clear();
  }
  newer_requests_.insert(ToUint128(request_key));
}

bool LaneCache::HasRequest(absl::string_view request_key) const {
  const absl::uint128 key = ToUint128(request_key);
  return newer_requests_.contains(key) || older_requests_.contains(key);
}

}  // namespace sessiond::db
