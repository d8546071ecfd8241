// What a group looks up before it decides, what is found, and the statements that find it: one for
// each kind of thing that is looked up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "db/connection/connection.h"
#include "db/rows/set_params.h"
#include "state_machine/decide.h"
#include "state_machine/scope.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// What these point at outlives the lookups. `ix` is returned with what is found.
struct GroupLookups {
  struct RequestKey {
    int16_t partition;
    absl::string_view key;
    int32_t ix;
  };

  // The partitions of all that is looked up. Ascending, each once.
  std::vector<int16_t> partitions;
  // Whether the transaction begins here, and locks the partitions' rows in this order.
  bool lock = false;
  // Partitions whose position is read without a lock.
  std::vector<int16_t> positions;
  // A session's `ix` is the number of the scope, in `scopes`, in which it is loaded.
  std::vector<SessionKey> sessions, tombstones;
  // From 1 on; 0 is everything.
  std::vector<const Scope*> scopes;
  // Whose these are, without loading them.
  std::vector<SessionKey> owners;
  std::vector<RequestKey> requests;
  // The event with the key's sequence.
  std::vector<SessionKey> events;
  std::vector<NamedKey> errors, artifacts;
  // Ids that callers supplied, and that must be new to their sessions.
  std::vector<NamedKey> message_ids, task_ids;
  // All revisions of all workflows.
  bool workflows = false;

  // Loads the session if it is in one of these scopes; in any, if there are none.
  void AddSession(int16_t partition, absl::string_view session_id,
                  absl::Span<const Scope* const> in = {});
  void AddOwner(int16_t partition, absl::string_view session_id);
  void AddTombstone(int16_t partition, absl::string_view session_id);
  bool empty() const;
};

// What is not listed does not exist.
struct GroupFinds {
  struct Position {
    int16_t partition;
    int64_t position;
  };
  struct LoadedSession {
    v1::Session session;
    BlockingErrors blocking;
  };
  struct FoundOwner {
    std::string session_id, namespace_name, owner_id;
  };
  struct FoundTombstone {
    std::string session_id;
    Tombstone tombstone;
  };
  struct FoundRequest {
    int32_t ix;
    std::string fingerprint, session_id, answer;
  };
  struct FoundEvent {
    int32_t ix, sequence;
    absl::Time event_time;
    std::string caller, request_id;
  };
  struct UsedId {
    std::string session_id, id;
  };

  // The partitions' positions, and the time of reading by the database's clock.
  std::vector<Position> positions;
  absl::Time now;
  std::vector<LoadedSession> sessions;
  std::vector<FoundOwner> owners;
  std::vector<FoundTombstone> tombstones;
  std::vector<FoundRequest> requests;
  std::vector<FoundEvent> events;
  std::vector<v1::SessionError> errors;
  std::vector<v1::SessionArtifact> artifacts;
  std::vector<UsedId> used_ids;
};

// For each queued statement: the reader of its result.
using LookupReaders = std::vector<std::function<void(const Result& result, GroupFinds* finds)>>;

// Queues a statement for each kind of thing that is looked up. Workflows go into the catalog.
// REQUIRES: lookups and catalog outlive the readers.
LookupReaders QueueLookups(const GroupLookups& lookups, WorkflowCatalog& catalog,
                           Connection& connection);
// REQUIRES: one result for each reader.
GroupFinds ReadFinds(const LookupReaders& readers, const std::vector<Result>& results);

}  // namespace sessiond::db
