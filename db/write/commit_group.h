// A group: commands that commit together. It knows what to ask the database and what to make of the
// answers, and does no I/O itself.
//
//   trip 1   load the sessions that the lane has not kept, and what commands name below them
//   decide   each command in the order of arrival; two for one session build on each other
//   trip 2   BEGIN · positions · sessions · what lies below them · events · requests · COMMIT
//
// Where the lane has kept all that the group needs (lane_cache.h), trip 2 is the only one. It
// alone locks the partitions, and fails if somebody else has moved one of them since, if a request
// was carried out before, or if it comes too late to be dated as it was.
//
// Of a refusal, and of what leaves no trace, only the database knows whether it repeats a request.
// A group with one of those is made anew. Trip 1 then also looks the requests up, and how far the
// partitions have come; a trip 1b loads what is missing, if anything is: tombstones, what a
// repeated request names, unknown workflows. Where trip 2 has failed, and where others have changed
// the partitions lately, BEGIN and the locks come before all that: this way always leads to an end.
//
// A refused command writes nothing and harms nobody in its group. Outcomes count only once the
// commit is known. Where the connection was lost on that, they are kept with their submissions: the
// group that is made anew, under locks, looks whether their last events are there, and answers with
// them if so, however the sessions have changed since.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "db/base/committed.h"
#include "db/base/database_clock.h"
#include "db/connection/connection.h"
#include "db/rows/set_params.h"
#include "db/write/group_rows.h"
#include "db/write/lane_cache.h"
#include "db/write/submission.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

// How a group comes by what it decides on; the cheapest first.
enum class Way {
  kOptimistic,  // What is not kept is loaded; all commands have to be accepted.
  kUnlocked,    // Requests and positions are read, too.
  kLocked,      // The same under the partitions' locks.
};

enum class Decided { kUnsure, kNothingToWrite, kToBeWritten };

// All that these commands and their requests lie in. Ascending, each once.
std::vector<int16_t> PartitionsOf(absl::Span<Submission* const> submissions);

class CommitGroup {
 public:
  // REQUIRES: what is given outlives the group. With `listening`, what is committed is kept for
  // TakeCommitted.
  CommitGroup(absl::Span<Submission* const> submissions, WorkflowCatalog& catalog,
              LaneCache& memory, DatabaseClock& clock, Way way, bool listening = false);

  // Whether its way is open to this group. If not, it has to be made anew, to go another way.
  bool Prepare();

  // Trip 1. QueueLoad is false where nothing is to be loaded, and no trip needed; TakeLoaded where
  // somebody else has moved a partition.
  bool QueueLoad(Connection& connection);
  bool TakeLoaded(const std::vector<Result>& results);

  // Trip 1b. QueueMissing is false where nothing is missing, and by Way::kOptimistic, where Decide
  // will tell; TakeMissing as TakeLoaded.
  bool QueueMissing(Connection& connection);
  bool TakeMissing(const std::vector<Result>& results);

  // Decides every command that is still waited for. Unsure are, by Way::kOptimistic, refusals and
  // what leaves no trace: the group has to be made anew.
  Decided Decide();

  // Trip 2.
  void QueueWrites(Connection& connection);
  // Completes the outcomes, now that the commit is known. CONSTRAINT_VIOLATION for all that were
  // accepted, where the database wrote other rows than it was told to: a defect.
  void Answer(const std::vector<Result>& written);
  // Instead, where nobody knows whether it has committed: the next group will find out.
  void LeaveInDoubt();

  Way way() const { return way_; }
  // When nobody waits for an outcome any more.
  SteadyTime last_deadline() const;
  // After Decide: whether anybody is to be told that what he asked for is done, now or before.
  bool AnyAccepted() const;
  // After Decide: by partition, where it will stand.
  const std::map<int16_t, int64_t>& positions() const { return positions_; }

  // After Answer: the events, in the order of each partition's positions.
  std::vector<CommittedEvent> TakeCommitted() { return std::move(committed_); }

 private:
  // A session, what the group knows of it, and what it changed.
  struct Entry {
    Aggregate aggregate;
    int16_t partition = 0;
    bool created = false, changed = false, task_changed = false;
    bool fields_changed = false, counters_changed = false, references_changed = false;
    // What the aggregate has below the session, by id.
    std::set<std::string> recorded, resolved, added_artifacts, deleted_artifacts;
    std::vector<const NewMessage*> messages;
    // Archived or erased by this group: nothing of the above is written.
    std::optional<EndedSession> ended;
    // The last command that changed the session: its answer is the session as it stands.
    Submission* last = nullptr;
    // The lane had kept it.
    bool recalled = false;
  };
  // What was done on a request before.
  struct Replayed {
    std::string fingerprint;
    std::string session_id;
    std::string answer;
  };

  bool Recall(const Submission& submission);
  void QueueLock(Connection& connection) const;
  void QueuePositions(Connection& connection) const;
  bool TakePositions(const Result& result);
  void Keep();
  absl::StatusOr<Outcome> DecideOne(Submission& submission);
  absl::StatusOr<Outcome> Repeat(const Submission& submission, const Replayed& request);
  Outcome Accept(Submission& submission, Entry& entry, Decision decision);
  void AcceptRows(Entry& entry, const Outcome& outcome, const Decision& decision);
  void Commit(const Submission& submission, const Entry& entry, const Outcome& outcome,
              std::shared_ptr<const v1::Session> before);
  void Present(v1::Session session, v1::Session* answer) const;
  void Take(const Statement& statement, const Result& result);
  void TakeRequests(const Result& result);
  void TakeSent(const Result& result);
  bool IsAnswer(const Submission& submission, const Outcome& sent) const;
  void TakeNamed(const Statement& statement, const Result& result);
  void NameMissing(const Submission& submission, const Replayed& request);
  GroupRows Rows() const;

  const std::vector<Submission*> submissions_;
  WorkflowCatalog& catalog_;
  LaneCache& memory_;
  DatabaseClock& clock_;
  const Way way_;
  const bool listening_;
  // Ascending, each once.
  std::vector<int16_t> partitions_;
  // Where they stood, and, as Accept counts on, where they will.
  std::map<int16_t, int64_t> positions_before_, positions_;
  // Those of which the lane thought that they stood elsewhere: what was kept of them is void.
  std::set<int16_t> moved_;
  absl::Time now_;
  // By session id.
  absl::flat_hash_map<std::string, Entry> entries_;
  // By request key: what was done before, in earlier groups and in this one.
  absl::flat_hash_map<std::string, Replayed> requests_;
  // Of submissions that were sent before, and turned out to be committed: what they came to.
  absl::flat_hash_map<const Submission*, const Outcome*> done_;
  // What trip 1 asked for, in the order of its results.
  std::vector<const Statement*> asked_;
  // What trip 1b asked for.
  std::vector<std::string> missing_sessions_, missing_tombstones_;
  std::vector<NamedKey> missing_errors_, missing_artifacts_;
  bool missing_workflows_ = false;

  // What was accepted. The rows point into these.
  std::vector<Submission*> accepted_;
  std::vector<EventRow> events_;
  std::deque<std::vector<google::protobuf::Struct>> before_;
  std::deque<std::vector<NewMessage>> messages_;
  std::vector<Expected> expected_;
  // How many statements come before the rows; the first of those tells the time.
  std::size_t before_rows_ = 0;
  std::vector<CommittedEvent> committed_;
};

}  // namespace sessiond::db
