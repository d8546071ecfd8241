// The rows that a group writes, and the statements that write and commit them: one for each table
// that has any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "db/connection/connection.h"
#include "db/rows/set_params.h"
#include "state_machine/decide.h"

namespace sessiond::db {

// A row in a partition; what it points at outlives the rows.
template <class T>
struct Located {
  int16_t partition;
  const T* row;
};

struct SessionRow {
  int16_t partition;
  const v1::Session* session;
  int32_t blocking_errors;
  // The large columns are sent only if they changed.
  bool fields_changed, counters_changed, references_changed;
};

// A partition with new events, or none, that must still be at `position`.
struct AdvancedRow {
  int16_t partition;
  int64_t position;
  int64_t events;
  // By the database's clock: after this, the group is refused.
  std::optional<absl::Time> until;
};

struct EventRow {
  int16_t partition;
  int64_t position;
  const v1::SessionEvent* event;
  const google::protobuf::Struct* before;
};

// A session of which only a tombstone and its last event remain.
struct EndedSession {
  int16_t partition;
  v1::Session session;
  bool erased;
};

struct RequestRow {
  int16_t partition;
  absl::string_view request_key, fingerprint, session_id;
  // What the request named (session_requests.answer).
  std::string answer;
};

struct GroupRows {
  // The partitions of all rows. Ascending, each once.
  std::vector<int16_t> partitions;
  // Whether the transaction begins here. If not, it has already locked the partitions.
  bool begin = false;
  absl::Time now;
  std::vector<AdvancedRow> advanced;
  std::vector<SessionRow> created, updated;
  std::vector<EventRow> events;
  std::vector<Located<v1::SessionTask>> tasks;
  std::vector<Located<v1::SessionError>> recorded, resolved;
  std::vector<Located<NewMessage>> messages;
  std::vector<Located<v1::SessionArtifact>> artifacts;
  std::vector<NamedKey> deleted_artifacts;
  std::vector<EndedSession> ended;
  std::vector<RequestRow> requests;
};

// What each queued statement must have done, in order.
struct ExpectedResult {
  // Any number: only the database knows what lies below a session.
  static constexpr int64_t kAnyRows = -1;

  const Statement* statement;
  int64_t rows = kAnyRows;
};

// Queues the whole round trip, up to its COMMIT.
std::vector<ExpectedResult> QueueRows(const GroupRows& rows, Connection& connection);

struct Written {
  // By the database's clock.
  absl::Time time;
  // CONSTRAINT_VIOLATION if the database wrote other rows than requested: a defect of ours, which
  // is logged.
  absl::Status defect;
};

// CommitInDoubt: it is unknown whether it has committed.
absl::StatusOr<Written> ReadWritten(const std::vector<ExpectedResult>& expected,
                                    const std::vector<Result>& results);

}  // namespace sessiond::db
