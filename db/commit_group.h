// A group: commands that commit together. It knows what to ask the database and what to make of the
// answers, and does no I/O itself.
//
//   trip 1   BEGIN · lock the partitions · load the sessions · look the request ids up
//   (trip 1b only when something is missing: tombstones, sessions that a repeated request names,
//   unknown workflows) decide   each command in the order of arrival; two for one session build on
//   each other trip 2   positions · sessions · events · requests · COMMIT
//
// A refused command writes nothing and harms nobody in its group. Outcomes count only once the
// commit is known.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "db/connection.h"
#include "db/submission.h"
#include "server/state_machine/workflow_catalog.h"

namespace sessiond::db {

class CommitGroup {
 public:
  // REQUIRES: `submissions` outlive the group.
  CommitGroup(absl::Span<Submission* const> submissions, WorkflowCatalog& catalog);

  // Trip 1.
  void QueueLoad(Connection& connection) const;
  void TakeLoaded(const std::vector<Result>& results);

  // Trip 1b. False: nothing is missing, no trip is needed.
  bool QueueMissing(Connection& connection);
  void TakeMissing(const std::vector<Result>& results);

  // Decides every command. False: there is nothing to write; roll back.
  bool Decide();

  // Trip 2.
  void QueueWrites(Connection& connection) const;
  // Completes the outcomes, now that the commit is known. CONSTRAINT_VIOLATION for all that were
  // accepted, where the database wrote other rows than it was told to: a defect.
  void Answer(const std::vector<Result>& written);

  // The database's clock, as trip 1 read it.
  absl::Time now() const { return now_; }

 private:
  struct Entry {
    Aggregate aggregate;
    int16_t partition = 0;
    bool created = false;
    bool changed = false;
    // Context, counters, references or labels.
    bool fields_changed = false;
    // The last command that changed the session: its answer is the session as it stands.
    Submission* last = nullptr;
  };
  struct Replayed {
    std::string fingerprint;
    std::string session_id;
  };
  struct Event {
    int16_t partition;
    int64_t position;
    // In its submission's outcome.
    const v1::SessionEvent* event;
  };

  Entry& EntryOf(const std::string& session_id) { return entries_[session_id]; }
  absl::StatusOr<Outcome> DecideOne(Submission& submission);
  absl::StatusOr<Outcome> Repeat(const Submission& submission, const Replayed& request);
  void Accept(Submission& submission, Entry& entry, const std::vector<v1::SessionEvent>& events);
  void Present(v1::Session session, v1::Session* answer) const;

  bool WroteWhatItWasTold(const std::vector<Result>& results) const;

  void QueueCreated(Connection& connection) const;
  void QueueUpdated(Connection& connection) const;
  void QueueEvents(Connection& connection) const;
  void QueueRequests(Connection& connection) const;

  const std::vector<Submission*> submissions_;
  WorkflowCatalog& catalog_;
  // Ascending, each once.
  std::vector<int16_t> partitions_;
  // As locked; Accept counts on from here.
  std::map<int16_t, int64_t> positions_, locked_positions_;
  absl::Time now_;
  // By session id.
  absl::flat_hash_map<std::string, Entry> entries_;
  // By request key: what was done before, in earlier groups and in this one.
  absl::flat_hash_map<std::string, Replayed> requests_;
  // What trip 1b asked for.
  std::vector<std::string> missing_sessions_, missing_tombstones_;
  bool missing_workflows_ = false;
  std::vector<Event> events_;
  std::vector<Submission*> accepted_;
};

}  // namespace sessiond::db
