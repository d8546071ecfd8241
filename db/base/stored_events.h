// What watches read from the database: each partition's position, and the events of ranges of
// partitions, with all that is left to say whose they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/message.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/session_event.pb.h"

namespace sessiond::db {

// By partition.
struct PartitionStates {
  // Of the newest event; 0 for none.
  std::vector<int64_t> positions;
  // Of the newest event that was removed; 0 for none.
  std::vector<int64_t> purged;
};

// What another query finds, and the partitions' positions at that moment.
template <class Found>
struct AsOf {
  PartitionStates partitions;
  Found found;
};

// An event, and what it does not say about the time before it.
struct StoredStep {
  v1::SessionEvent event;
  // Field path → old value, null for none: session_events.before.
  google::protobuf::Struct before;
  // When the event before it happened.
  std::optional<absl::Time> previous_time;
  // For RECOVERED when it had failed, for UNDELETED when it was deleted.
  std::optional<absl::Time> marked_time;
};

struct StoredEvent {
  int16_t partition = 0;
  int64_t position = 0;
  StoredStep step;
  // For MESSAGES_APPENDED: the messages, up to `message_bytes_max`.
  std::vector<v1::SessionMessage> messages;
};

struct StoredEvents {
  // What was read: of the ranges that were asked for as many, from the first on, as fit into
  // kStoredBytesMax.
  std::vector<PositionRange> ranges;
  // Ascending by partition and position; without removed ones.
  std::vector<StoredEvent> events;
  // By session id: each event's session in its current state, unless it is gone.
  absl::flat_hash_map<std::string, std::shared_ptr<v1::Session>> sessions;
  // By session id: the events after those above, by sequence, without previous_time, and of
  // `changes` only marks and blocking errors; only events that changed what no other event says.
  absl::flat_hash_map<std::string, std::vector<StoredStep>> later;
  // By session id, for sessions that are gone: what the tombstone has.
  absl::flat_hash_map<std::string, v1::Session> tombstones;
  // As of the same moment.
  PartitionStates partitions;
};

// The most events that one round trip reads.
inline constexpr int64_t kStoredEventsMax = 1000;
// It ends early behind so many bytes of events, their sessions and their messages: as messages they
// take up to ten times as much.
inline constexpr std::size_t kStoredBytesMax = 1 << 20;

// How much of the sessions is rewound past later events.
enum class Rewinding {
  // What filters look at.
  kAll,
  // Only what events themselves say: state, stage, status; and the owner. For sessions with long
  // histories, this costs far less.
  kStanding
};

}  // namespace sessiond::db
