#include "db/lane_memory.h"

#include <cassert>
#include <cstring>
#include <utility>

namespace sessiond::db {
namespace {

// Where two daemons change a partition by turns, to try is mostly in vain, and costs a trip.
constexpr int kUndisturbedMin = 8;

constexpr std::size_t kRequestsMax = 16384;

absl::uint128 ToUint128(absl::string_view request_key) {
  absl::uint128 key;
  assert(request_key.size() == sizeof key);
  std::memcpy(&key, request_key.data(), sizeof key);
  return key;
}

}  // namespace

bool LaneMemory::Found(int16_t partition, int64_t position) {
  Partition& known = partitions_[partition];
  if (known.position == position) {
    ++known.undisturbed;
    return true;
  }
  ++known.generation;
  known.undisturbed = 0;
  known.position = position;
  return false;
}

void LaneMemory::Left(int16_t partition, int64_t position) {
  partitions_[partition].position = position;
}

std::optional<int64_t> LaneMemory::PositionOf(int16_t partition) const {
  const auto known = partitions_.find(partition);
  if (known == partitions_.end() || known->second.undisturbed < kUndisturbedMin)
    return std::nullopt;
  return known->second.position;
}

void LaneMemory::Forget(int16_t partition) { Found(partition, -1); }

void LaneMemory::Clear() {
  partitions_.clear();
  by_id_.clear();
  kept_.clear();
  bytes_ = 0;
  newer_requests_.clear();
  older_requests_.clear();
}

void LaneMemory::Keep(int16_t partition, const v1::Session& session, bool blocking_errors) {
  Drop(session.session_id());
  if (blocking_errors || session.current_task().status() == v1::SessionTask::RUNNING) return;
  Kept kept{session.session_id(), session.SerializeAsString(), partitions_[partition].generation};
  if (kept.size() > bytes_max_) return;
  while (bytes_ + kept.size() > bytes_max_) Erase(std::prev(kept_.end()));
  bytes_ += kept.size();
  kept_.push_front(std::move(kept));
  by_id_[kept_.front().session_id] = kept_.begin();
}

void LaneMemory::Drop(absl::string_view session_id) {
  if (const auto found = by_id_.find(session_id); found != by_id_.end()) Erase(found->second);
}

void LaneMemory::Erase(List::iterator kept) {
  bytes_ -= kept->size();
  by_id_.erase(kept->session_id);
  kept_.erase(kept);
}

bool LaneMemory::Find(int16_t partition, absl::string_view session_id, v1::Session* session) {
  const auto found = by_id_.find(session_id);
  if (found == by_id_.end()) return false;
  const auto kept = found->second;
  if (kept->generation != partitions_[partition].generation) {
    Erase(kept);
    return false;
  }
  kept_.splice(kept_.begin(), kept_, kept);
  return session->ParseFromString(kept->bytes);
}

void LaneMemory::KeepRequest(absl::string_view request_key) {
  if (newer_requests_.size() == kRequestsMax) {
    older_requests_ = std::move(newer_requests_);
    newer_requests_.clear();
  }
  newer_requests_.insert(ToUint128(request_key));
}

bool LaneMemory::FindRequest(absl::string_view request_key) const {
  const absl::uint128 key = ToUint128(request_key);
  return newer_requests_.contains(key) || older_requests_.contains(key);
}

}  // namespace sessiond::db
