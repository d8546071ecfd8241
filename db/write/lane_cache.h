// What a lane has cached: sessions that it wrote lately, and how far their partitions had come. As
// long as a partition is where this lane left it, nobody else has changed its sessions, and they
// need not be looked up again; the commit checks the positions (advance_positions.sql). Optimistic
// concurrency control, between daemons: within one, only one lane moves a partition's position.
//
//   PositionOf, Get … ──▶ Observe (has it moved? then its sessions are void) ──▶ Advance, Put
//
// Only sessions are cached whose every change moves the position, and with which nothing else is to
// be loaded: not those whose task runs, for heartbeats change it without an event, nor those with
// blocking errors (their ids are looked up).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "db/base/two_queues.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond::db {

// One thread.
class LaneCache {
 public:
  // `bytes_max`: of all cached sessions. With 0, partitions are not counted on, either.
  explicit LaneCache(std::size_t bytes_max) : off_(bytes_max == 0), sessions_(bytes_max) {}

  // A group has read the partition's position. False: somebody else has moved it.
  bool Observe(int16_t partition, int64_t position);
  // A group has committed.
  void Advance(int16_t partition, int64_t position);
  // Where the partition is, if that can be counted on: the last few groups found it as they had
  // left it.
  std::optional<int64_t> PositionOf(int16_t partition) const;
  // The connection was lost, and with it what is known.
  void Clear();

  // REQUIRES: after Advance. Caches the session, or erases it where it is none to be cached.
  void Put(int16_t partition, const v1::Session& session, bool blocking_errors);
  void Erase(absl::string_view session_id);
  std::optional<v1::Session> Get(int16_t partition, absl::string_view session_id);

  // Requests that were carried out lately, thousands of them: one that is repeated has to look for
  // what was answered. The database knows all of them.
  void PutRequest(absl::string_view request_key);
  bool HasRequest(absl::string_view request_key) const;

 private:
  struct Partition {
    int64_t position = -1;
    // Groups in a row that found it as the one before had left it; no more than are asked for.
    int undisturbed = 0;
    // What was cached under another number is void.
    int64_t generation = 0;
  };
  struct Cached {
    // As Protobuf.
    std::string session;
    int64_t generation;
  };

  const bool off_;
  absl::flat_hash_map<int16_t, Partition> partitions_;
  TwoQueues<Cached> sessions_;
  // When the newer ones are too many they become the older ones.
  absl::flat_hash_set<absl::uint128> newer_requests_, older_requests_;
};

}  // namespace sessiond::db
