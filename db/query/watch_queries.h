// What watches read: how far each partition is, and the events of stretches of partitions, with all
// that is left to tell whose they are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/connection/connection.h"
#include "db/connection/sql_text.h"
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

Sql PartitionStatesSql();
PartitionStates ReadPartitionStates(const Result& result, int partition_count);

// The time of the oldest event behind all that was removed; nothing when nothing was.
Sql OldestResumableSql();
std::optional<absl::Time> ReadOldestResumable(const Result& result);

// An event, and what it does not tell of the time before it.
struct StoredStep {
  v1::SessionEvent event;
  // Field path → old value, null for none: session_events.before.
  google::protobuf::Struct before;
  // When the event before it happened.
  std::optional<absl::Time> previous_time;
  // Of RECOVERED when it had failed, of UNDELETED when it was deleted.
  std::optional<absl::Time> marked_time;
};

struct StoredEvent {
  int16_t partition = 0;
  int64_t position = 0;
  StoredStep step;
  // Of MESSAGES_APPENDED: what was, up to `message_bytes_max`.
  std::vector<v1::SessionMessage> messages;
};

struct StoredEvents {
  // Ascending by partition and position; of removed ones there is nothing.
  std::vector<StoredEvent> events;
  // By session id: each event's session as it stands, unless it is gone. Fields derived for a
  // reader are left to Present.
  absl::flat_hash_map<std::string, std::shared_ptr<v1::Session>> sessions;
  // By session id: the events behind those above, by sequence, without previous_time, and of
  // `changes` only marks and blocking errors; only those that changed what no other event tells of.
  absl::flat_hash_map<std::string, std::vector<StoredStep>> later;
  // By session id: what a tombstone keeps, of sessions that are gone.
  absl::flat_hash_map<std::string, v1::Session> tombstones;
  // As of the same moment.
  PartitionStates partitions;
};

// The most events that one trip reads.
inline constexpr int64_t kStoredEventsMax = 1000;

// How far sessions are to be taken back behind later events.
enum class Rewinding {
  // What filters look at.
  kAll,
  // Only what events themselves tell of: state, stage, status; and the owner. Where sessions have
  // long histories, it costs far less.
  kStanding
};

// Two trips, each to be run as of one moment. The first reads the events and their sessions; the
// second what few of them need: events behind them, tombstones, messages. REQUIRES: `ranges`
// ascend, one for each partition at most, and have no more than kStoredEventsMax positions.
std::vector<Sql> StoredEventsTrip(absl::Span<const PositionRange> ranges);
StoredEvents ReadStoredEvents(const std::vector<Result>& results, int partition_count);
// Empty: there is nothing else to read.
std::vector<Sql> StoredRestTrip(const StoredEvents& stored, Rewinding rewinding,
                                std::size_t message_bytes_max);
// False: what belongs to these events may have been removed between the trips, and both are to be
// run again.
bool AddStoredRest(const std::vector<Result>& results, StoredEvents* stored);

// The sessions with these ids, as far as there are any, in the order of ids.
Sql SessionsByIdSql(absl::Span<const std::string> session_ids, int partition_count);
std::vector<v1::Session> ReadSessionsById(const Result& result);

}  // namespace sessiond::db
