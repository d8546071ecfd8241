// What watches read: each partition's position, and the events of ranges of partitions, with all
// that is left to say whose they are.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/base/stored_events.h"
#include "db/query/question.h"
#include "sessiond/v1/session.pb.h"
#include "state_machine/scope.h"

namespace sessiond::db {

Question<PartitionStates> ReadPartitionStates(int partition_count);

// The same, in one round trip with another question.
template <class Found>
Question<AsOf<Found>> AskAsOf(int partition_count, Question<Found> question) {
  Question<PartitionStates> states = ReadPartitionStates(partition_count);
  states.statements.insert(states.statements.end(), question.statements.begin(),
                           question.statements.end());
  return {.statements = std::move(states.statements),
          .read = [states = std::move(states.read),
                   found = std::move(question.read)](absl::Span<const Result> results) mutable {
            return AsOf<Found>{states(results.subspan(0, 1)), found(results.subspan(1))};
          }};
}

// The time of the oldest event after all removed ones; nothing if none was removed.
Question<std::optional<absl::Time>> FindOldestResumable();

// What StoredEvents is made of, each part as of one moment. The first reads the events and their
// sessions, up to `bytes_max` if it is more than one; the second what few of them need: later
// events, tombstones, messages. REQUIRES: `ranges` ascend, one for each partition at most, and have
// no more than kStoredEventsMax positions.
Question<StoredEvents> FindStoredEvents(std::vector<PositionRange> ranges, int partition_count,
                                        std::size_t bytes_max = kStoredBytesMax);
// No statements: there is nothing else to read. False: what belongs to these events may have been
// removed between the two, and both must be asked again. REQUIRES: `stored` outlives it.
Question<bool> FindRestOf(StoredEvents* stored, Rewinding rewinding, std::size_t message_bytes_max);

// Those of these sessions that exist and are in scope, in the order of ids.
Question<std::vector<v1::Session>> FindNamedSessions(absl::Span<const std::string> session_ids,
                                                     const Scope& scope, int partition_count);

}  // namespace sessiond::db
