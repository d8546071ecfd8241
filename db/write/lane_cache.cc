#include "db/write/lane_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace sessiond::db {
namespace {

// Where two daemons change a partition by turns, to try is mostly in vain, and costs three trips
// (load, write, roll back): after so many groups in a row it is so once in 256 times.
constexpr int kUndisturbedMin = 8;

// Half a megabyte each for the newer and the older: some seconds at full load.
constexpr std::size_t kRequestsMax = 16384;

absl::uint128 ToUint128(absl::string_view request_key) {
  absl::uint128 key;
  assert(request_key.size() == sizeof key);
  std::memcpy(&key, request_key.data(), sizeof key);
  return key;
}

}  // namespace

bool LaneCache::Found(int16_t partition, int64_t position) {
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

void LaneCache::Left(int16_t partition, int64_t position) {
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

void LaneCache::Keep(int16_t partition, const v1::Session& session, bool blocking_errors) {
  if (blocking_errors || session.current_task().status() == v1::SessionTask::RUNNING)
    return Drop(session.session_id());
  Kept kept{session.SerializeAsString(), partitions_[partition].generation};
  const std::size_t bytes = kept.session.size();
  sessions_.Keep(session.session_id(), std::move(kept), bytes);
}

void LaneCache::Drop(absl::string_view session_id) { sessions_.Drop(session_id); }

bool LaneCache::Has(int16_t partition, absl::string_view session_id) const {
  const Kept* kept = sessions_.Peek(session_id);
  return kept != nullptr && kept->generation == partitions_.at(partition).generation;
}

bool LaneCache::Find(int16_t partition, absl::string_view session_id, v1::Session* session) {
  if (!Has(partition, session_id)) {
    Drop(session_id);
    return false;
  }
  return session->ParseFromString(sessions_.Find(session_id)->session);
}

void LaneCache::KeepRequest(absl::string_view request_key) {
  if (newer_requests_.size() == kRequestsMax) {
    older_requests_ = std::move(newer_requests_);
    newer_requests_.clear();
  }
  newer_requests_.insert(ToUint128(request_key));
}

bool LaneCache::FindRequest(absl::string_view request_key) const {
  const absl::uint128 key = ToUint128(request_key);
  return newer_requests_.contains(key) || older_requests_.contains(key);
}

}  // namespace sessiond::db
