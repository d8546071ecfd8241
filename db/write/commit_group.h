// A group: commands that commit together. Values in, values out: it says what to look up, decides
// by what was found, and says what to write. The committer makes the round trips (committer.h).
//
//   Next ──▶ lookups ──▶ round trip ──▶ Take     until it has decided: none, one or two
//   Rows ──▶ rows ──▶ round trip ──▶ Committed | LeftInDoubt | Refuse
//
// It decides each command in the order of arrival; two for one session build on each other. It runs
// in one of two modes.
//
//   optimistic   What the lane has cached (lane_cache.h) is not looked up; the rest is, without
//                locks. If everything is cached, the only round trip is the one that writes. It
//                alone locks the partitions, and fails if another daemon has moved one of them
//                since, if a request was carried out before, or if the dates of the group are too
//                old by now. Whether a refusal, or a command that leaves no trace, repeats a
//                request is known to the database alone: that, and that no partition has moved, is
//                looked up before a caller is answered.
//   locked       BEGIN and the partitions' locks come first, and all requests are looked up: this
//                always ends. For groups whose optimistic run failed, and for those that the cache
//                knows too little for.
//
// A refused command writes nothing and does not affect the others in its group. Outcomes are final
// only once the commit is known. If the connection was lost during the commit, they stay with their
// submissions: the next run, under locks, checks whether their last events are stored. If so, it
// answers with these outcomes, however the sessions have changed since.
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
#include "db/write/group_lookups.h"
#include "db/write/group_rows.h"
#include "db/write/lane_cache.h"
#include "db/write/repeated_request.h"
#include "db/write/submission.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

enum class CommitMode { kOptimistic, kLocked };

enum class Decided {
  kInVain,  // Optimistic only: it must run in locked mode.
  kNothingToWrite,
  kToBeWritten,
};

// All partitions of these commands and of their requests. Ascending, each once.
std::vector<int16_t> PartitionsOf(absl::Span<Submission* const> submissions);

class CommitGroup {
 public:
  // REQUIRES: the arguments outlive the group. With `listening`, what is committed is collected for
  // TakeCommitted.
  CommitGroup(absl::Span<Submission* const> submissions, const WorkflowCatalog& catalog,
              LaneCache& cache, DatabaseClock& clock, CommitMode mode, bool listening = false);

  // What to look up next; Take gets what is found. Nothing: it has decided every command whose
  // caller still waits.
  std::optional<GroupLookups> Next();
  void Take(GroupFinds finds);
  Decided decided() const;

  // After Decided::kToBeWritten: what to write, in a transaction of its own or in the one that
  // holds the locks.
  GroupRows Rows() const;
  // The group has committed, at `now` by the database's clock: outcomes are final.
  void Committed(absl::Time now);
  // It is unknown whether it has committed: the next run will find out.
  void LeftInDoubt();
  // What was accepted did not happen.
  void Refuse(const absl::Status& why);

  // Whether a caller will be answered that its request is done, now or before.
  bool AnyAccepted() const;
  // By partition: its position after the commit.
  const std::map<int16_t, int64_t>& positions() const { return positions_; }
  // After Committed: the events, in the order of each partition's positions.
  std::vector<CommittedEvent> TakeCommitted() { return std::move(committed_); }

 private:
  // A session, what the group knows about it, and what it changed.
  struct Entry {
    Aggregate aggregate;
    int16_t partition = 0;
    bool from_cache = false;
    bool created = false, changed = false, task_changed = false;
    bool fields_changed = false, counters_changed = false, references_changed = false;
    // Ids of rows below the session.
    std::set<std::string> recorded, resolved, added_artifacts, deleted_artifacts;
    std::vector<const NewMessage*> messages;
    // Archived or erased by this group: none of the above is written.
    std::optional<EndedSession> ended;
    // The last command that changed the session: its answer is the session as it will be.
    Submission* last = nullptr;
  };

  bool BeginOptimistic();
  void NoteScopes();
  GroupLookups FirstLookups();
  void LookUpSession(const Submission& submission, Entry& entry, GroupLookups* lookups);
  GroupLookups BelowLookups();
  void AddMissing(GroupLookups* lookups);
  GroupLookups UncheckedLookups() const;
  void LookUpNamed(const Submission& submission, GroupLookups* lookups) const;
  void LookUpAnswer(const Submission& submission, const DoneRequest& request,
                    GroupLookups* lookups);
  void TakePositions(const GroupFinds& finds);
  void TakeEvent(const GroupFinds::FoundEvent& found);

  void Decide();
  bool WillBeChecked(const Submission& submission) const;
  absl::StatusOr<Outcome> DecideOne(Submission& submission);
  absl::StatusOr<Outcome> Repeat(const Submission& submission, const DoneRequest& request);
  Outcome Accept(Submission& submission, Entry& entry, Decision decision);
  void AcceptRows(Entry& entry, const Outcome& outcome, const Decision& decision);
  void Collect(const Submission& submission, const Entry& entry, const Outcome& outcome,
               std::shared_ptr<const v1::Session> before);
  void Present(v1::Session session, v1::Session* answer) const;
  void PresentLast();
  void AddRowsOf(const std::string& session_id, const Entry& entry, GroupRows* rows) const;
  void AddRequestOf(const Submission& submission, GroupRows* rows) const;
  void UpdateCache();

  const std::vector<Submission*> submissions_;
  const WorkflowCatalog& catalog_;
  LaneCache& cache_;
  DatabaseClock& clock_;
  const CommitMode mode_;
  const bool listening_;
  // Ascending, each once.
  const std::vector<int16_t> partitions_;
  // What Next does next.
  enum class Step { kLoad, kComplete, kDecide, kEnd } step_ = Step::kLoad;
  // Optimistic only: it must run in locked mode.
  bool in_vain_ = false;
  // Positions before the group, and after it, as Accept counts on.
  std::map<int16_t, int64_t> positions_before_, positions_;
  absl::Time now_;
  // By session id.
  absl::flat_hash_map<std::string, Entry> entries_;
  // Of sessions that nobody names who sees everything: the scopes of those who name them. What is
  // in none of them is not loaded.
  absl::flat_hash_map<std::string, std::vector<const Scope*>> scopes_;
  // What these name below their sessions is looked up once the session is known to be in scope.
  std::vector<const Submission*> below_later_;
  // By request key: requests done before, in earlier groups and in this one.
  absl::flat_hash_map<std::string, DoneRequest> requests_;
  // Submissions that were sent before, and turned out to be committed: their outcomes.
  absl::flat_hash_map<const Submission*, const Outcome*> done_;
  // Cached sessions that are void: another daemon has changed their partitions.
  std::vector<std::string> void_sessions_;
  // The commit would not find out whether these repeat a request.
  std::vector<const Submission*> unchecked_;

  // What was accepted. The rows point into these.
  std::vector<Submission*> accepted_;
  std::vector<EventRow> events_;
  std::deque<std::vector<google::protobuf::Struct>> before_;
  std::deque<std::vector<NewMessage>> messages_;
  std::vector<CommittedEvent> committed_;
};

}  // namespace sessiond::db
