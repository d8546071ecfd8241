// What PostgreSQL is to the daemon, as a model: the tables as maps, with the constraints that the
// daemon counts on; transactions that lock partitions and sessions, wait in a queue for them, and
// commit all they wrote or nothing; connections that can be cut at any moment; statements that each
// see what is committed when they run. It fails the run where PostgreSQL would show a defect of the
// daemon's: a deadlock, rows that are not there, positions that do not fit the events.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/base/committed.h"
#include "db/base/stored_events.h"
#include "db/write/group_lookups.h"
#include "db/write/group_rows.h"
#include "db/write/round_trips.h"
#include "sessiond/v1/artifact.pb.h"
#include "sessiond/v1/error.pb.h"
#include "sessiond/v1/session.pb.h"
#include "tests/simulation/scheduler.h"

namespace sessiond::simulation {

// The first 16 bytes of a digest, as SessionStore computes request keys.
std::string DigestOf(const std::vector<std::string>& parts);
std::string RequestKeyOf(const std::string& caller, const std::string& scope,
                         const std::string& request_id);

// GroupRows, whose pointers lead into a group, for a transaction that outlives it.
struct Writes {
  struct Session {
    int16_t partition;
    v1::Session session;
    int32_t blocking_errors;
    bool fields_changed, counters_changed, references_changed;
  };
  struct Event {
    int16_t partition;
    int64_t position;
    v1::SessionEvent event;
    google::protobuf::Struct before;
  };
  struct Request {
    int16_t partition;
    std::string key, fingerprint, session_id, answer;
  };

  explicit Writes(const db::GroupRows& rows);

  std::vector<int16_t> partitions;
  bool begin;
  absl::Time now;
  std::vector<db::AdvancedRow> advanced;
  std::vector<Session> created, updated;
  std::vector<Event> events;
  std::vector<v1::SessionTask> tasks;
  std::vector<v1::SessionError> recorded, resolved;
  std::vector<NewMessage> messages;
  std::vector<v1::SessionArtifact> artifacts;
  std::vector<std::pair<std::string, std::string>> deleted_artifacts;
  std::vector<db::EndedSession> ended;
  std::vector<Request> requests;
};

class ModelDatabase {
 public:
  // One for each connection.
  struct Backend {
    bool alive = true;
    bool in_transaction = false, failed = false;
    // When its last statement ended: idle in a transaction, it is ended after a while.
    Instant idle_since = 0;
    std::set<std::string> locks;
    // The lock it waits for.
    std::string waits_for;
  };
  using BackendPtr = std::shared_ptr<Backend>;

  ModelDatabase(Scheduler& scheduler, int partition_count,
                std::function<void(const Writes&)> on_commit);

  // ---- the server

  bool up() const { return up_; }
  void Start() { up_ = true; }
  // All connections end, and all transactions that have not committed.
  void Crash();
  absl::Time Now() const;
  // By hand, or because another server has taken over.
  void StepClock(absl::Duration by) { clock_off_ += by; }

  BackendPtr Connect();
  // Its transaction is rolled back.
  void End(Backend& backend);

  // ---- round trips of lanes, as the server runs them. All wait: call them on a fiber.

  absl::StatusOr<db::GroupFinds> LookUp(Backend& backend, const db::GroupLookups& lookups);
  absl::StatusOr<db::Written> Write(Backend& backend, const Writes& writes);
  absl::Status EndTransaction(Backend& backend);
  db::FoundLocked FindLocked(const std::vector<int16_t>& partitions,
                             const std::vector<std::string>& sessions);

  // Somebody with psql: locks a session, or a partition. False: it was not free.
  bool LockSession(Backend& backend, const std::string& session_id);
  bool LockPartition(Backend& backend, int16_t partition);
  // Requests are remembered for a day.
  void RemoveOldRequests();

  // ---- what watches read, each at one moment

  db::PartitionStates Partitions() const { return {positions_, purged_}; }
  db::StoredEvents Events(const std::vector<db::PositionRange>& ranges) const;
  // False: what belongs to these events may have been removed meanwhile.
  bool AddRest(db::StoredEvents* stored, db::Rewinding rewinding) const;
  // In the order of creation.
  std::vector<v1::Session> Sessions() const;
  std::vector<v1::Session> Sessions(const std::vector<std::string>& ids) const;

  // ---- for checks

  // Null: it is not there.
  const v1::Session* Find(const std::string& session_id) const;
  v1::Session Whole(const std::string& session_id) const;
  const std::map<std::string, v1::SessionError>& ErrorsOf(const std::string& session_id);
  const std::map<std::string, v1::SessionArtifact>& ArtifactsOf(const std::string& session_id);
  std::size_t MessagesOf(const std::string& session_id) { return messages_[session_id].size(); }
  int BlockingErrorsOf(const std::string& session_id) const;
  const std::vector<int64_t>& positions() const { return positions_; }
  int16_t PartitionOf(const std::string& session_id) const;

 private:
  struct Lock {
    Backend* holder = nullptr;
    std::deque<Backend*> queue;
  };
  struct Row {
    int16_t partition;
    v1::Session session;  // Without its task.
    int32_t blocking_errors;
  };
  struct Event {
    int16_t partition;
    int64_t position;
    v1::SessionEvent event;
    google::protobuf::Struct before;
  };
  struct Request {
    std::string fingerprint, session_id, answer;
    absl::Time created;
  };

  absl::Status Acquire(Backend& backend, const std::string& lock, Instant until);
  bool TryLock(Backend& backend, const std::string& lock);
  void Release(Backend& backend);
  void CheckDeadlock(const Backend& backend);
  // A moment in which others may run, and the backend end.
  absl::Status Moment(Backend& backend, absl::Duration most);
  absl::Status Fails(Backend& backend, absl::string_view sqlstate);
  absl::Status Gone() const;
  absl::Status Begun(Backend& backend);

  absl::Status CheckRows(Backend& backend, const Writes& writes);
  void Commit(const Writes& writes);
  void Remove(const db::EndedSession& ended);
  db::StoredStep StepOf(const Event& event, bool later) const;
  const std::vector<Event>& EventsOf(const std::string& session_id) const;

  Scheduler& scheduler_;
  const std::function<void(const Writes&)> on_commit_;
  bool up_ = true;
  absl::Duration clock_off_;
  std::vector<BackendPtr> backends_;
  std::map<std::string, Lock> locks_;

  std::vector<int64_t> positions_, purged_;
  std::map<std::string, Row> sessions_;
  std::map<std::string, v1::SessionTask> tasks_;
  std::map<std::string, std::map<std::string, v1::SessionError>> errors_;
  std::map<std::string, std::map<std::string, v1::SessionArtifact>> artifacts_;
  std::map<std::string, std::map<int32_t, NewMessage>> messages_;
  // By session, ascending by sequence.
  std::map<std::string, std::vector<Event>> events_;
  // By partition and position: the session.
  std::map<std::pair<int16_t, int64_t>, std::string> places_;
  std::map<std::pair<int16_t, std::string>, Request> requests_;
  std::map<std::string, std::pair<Tombstone, v1::Session>> tombstones_;
};

}  // namespace sessiond::simulation
