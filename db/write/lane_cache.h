// What a lane has cached: sessions that it wrote lately, and the positions of their partitions. As
// long as a partition is where this lane left it, no other daemon has changed its sessions, and
// they need not be looked up again; the commit checks the positions (advance_positions.sql).
// Optimistic concurrency control, between daemons: within one, only one lane moves a partition's
// position.
//
//   PositionOf, Get … ──▶ Observe (has it moved? then its sessions are void) ──▶ Advance, Put
//
// A session is cached only if its every change moves the position, and nothing else must be loaded
// with it: not if its task runs, since heartbeats change it without an event, and not if it has
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
#include "absl/types/span.h"
#include "db/base/two_queues.h"
#include "sessiond/v1/session.pb.h"
#include "state_machine/scope.h"

namespace sessiond::db {

// One thread.
class LaneCache {
 public:
  // `bytes_max`: of all cached sessions. With 0, positions are not relied on, either.
  explicit LaneCache(std::size_t bytes_max) : off_(bytes_max == 0), sessions_(bytes_max) {}

  // A group has read the partition's position. False: another daemon has moved it.
  bool Observe(int16_t partition, int64_t position);
  // A group has committed.
  void Advance(int16_t partition, int64_t position);
  // The partition's position, if it can be relied on: the last groups found it as they had left it.
  std::optional<int64_t> PositionOf(int16_t partition) const;
  // The connection was lost, so all that is cached is void.
  void Clear();

  // REQUIRES: after Advance. Caches the session, or erases it if it must not be cached.
  void Put(int16_t partition, const v1::Session& session, bool blocking_errors);
  void Erase(absl::string_view session_id);
  // Nothing, too, if there are scopes and it is in none of them.
  std::optional<v1::Session> Get(int16_t partition, absl::string_view session_id,
                                 absl::Span<const Scope* const> in = {});

  // Thousands of requests that were carried out lately: the answer of a repeated one has to be
  // looked up. The database has all of them.
  void PutRequest(absl::string_view request_key);
  bool HasRequest(absl::string_view request_key) const;

 private:
  struct Partition {
    int64_t position = -1;
    // Groups in a row that found it as the one before had left it; counted up to the minimum.
    int undisturbed = 0;
    // Sessions cached under another number are void.
    int64_t generation = 0;
  };
  struct Cached {
    // As Protobuf.
    std::string session;
    // So that a session that is out of scope is not even parsed.
    std::string namespace_name, owner_id;
    int64_t generation;
  };

  const bool off_;
  absl::flat_hash_map<int16_t, Partition> partitions_;
  TwoQueues<Cached> sessions_;
  // When there are too many newer ones, they become the older ones.
  absl::flat_hash_set<absl::uint128> newer_requests_, older_requests_;
};

}  // namespace sessiond::db
