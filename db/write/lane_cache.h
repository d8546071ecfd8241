// What a lane remembers of what it wrote: sessions, and how far their partitions had come. As long
// as a partition stands where this lane left it, nobody else has changed its sessions, and they
// need not be loaded again, and what else is needed can be loaded without locks; the commit checks
// the positions (advance_positions.sql). Optimistic concurrency control, between daemons: within
// one, only one lane moves a partition's position.
//
//   PositionOf, Find … ──▶ Found (has it moved? then its sessions are void) ──▶ Left, Keep
//
// Only sessions are kept whose every change moves the position, and with which nothing else is to
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
  // `bytes_max`: of all sessions kept. With 0, partitions are not counted on, either.
  explicit LaneCache(std::size_t bytes_max) : off_(bytes_max == 0), sessions_(bytes_max) {}

  // A group has read the partition's position. False: somebody else has moved it.
  bool Found(int16_t partition, int64_t position);
  // A group has committed.
  void Left(int16_t partition, int64_t position);
  // Where the partition stands, if that can be counted on: the last few groups found it as they had
  // left it.
  std::optional<int64_t> PositionOf(int16_t partition) const;
  // The connection was lost, and with it what is known.
  void Clear();

  // REQUIRES: after Left. Keeps the session, or drops it where it is none to be kept.
  void Keep(int16_t partition, const v1::Session& session, bool blocking_errors);
  void Drop(absl::string_view session_id);
  bool Has(int16_t partition, absl::string_view session_id) const;
  bool Find(int16_t partition, absl::string_view session_id, v1::Session* session);

  // Requests that were carried out lately, thousands of them: one that is repeated has to look for
  // what was answered. The database knows all of them.
  void KeepRequest(absl::string_view request_key);
  bool FindRequest(absl::string_view request_key) const;

 private:
  struct Partition {
    int64_t position = -1;
    // Groups in a row that found it as the one before had left it; no more than are asked for.
    int undisturbed = 0;
    // What was kept under another number is void.
    int64_t generation = 0;
  };
  struct Kept {
    // As Protobuf.
    std::string session;
    int64_t generation;
  };

  const bool off_;
  absl::flat_hash_map<int16_t, Partition> partitions_;
  TwoQueues<Kept> sessions_;
  // When the newer ones are too many they become the older ones.
  absl::flat_hash_set<absl::uint128> newer_requests_, older_requests_;
};

}  // namespace sessiond::db
