#include "db/write/commit_group.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "db/rows/artifact_rows.h"
#include "db/rows/error_rows.h"
#include "db/rows/session_rows.h"
#include "db/rows/workflow_rows.h"
#include "db/sql/statements.h"
#include "db/write/named_ids.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;

// A group that was decided without locks is as good as lost after this long: a daemon that was
// frozen meanwhile, or a connection that kept it, would write what was true once.
constexpr absl::Duration kUnlockedMax = absl::Seconds(5);

absl::Status RequestIdReused(const std::string& request_id) {
  return Refusal(v1::REQUEST_ID_REUSED,
                 absl::StrCat(
                     "The request_id \"", request_id,
                     "\" was used for another request within the last 24 hours. Draw a new one."))
      .With("request_id", request_id)
      .Violation("request_id", "was used with another method or payload");
}

// A newer daemon made it.
absl::Status NotUnderstood(const Session& session) {
  return Refusal(v1::SCHEMA_MISMATCH,
                 absl::StrCat("This daemon does not understand revision ",
                              session.workflow_revision(), " of workflow ", session.workflow(),
                              ", which the session keeps. Upgrade the daemon."));
}

absl::Status RunWasReplaced(const std::string& task_id, const Session& session) {
  return Refusal(v1::STALE_TASK,
                 absl::StrCat("The request was carried out, and the run it was about, ", task_id,
                              ", has been replaced since."))
      .With("task_id", task_id)
      .With("current_task_id", session.current_task().task_id());
}

}  // namespace

std::vector<int16_t> PartitionsOf(absl::Span<Submission* const> submissions) {
  std::set<int16_t> partitions;
  for (const Submission* submission : submissions) {
    partitions.insert(submission->partition);
    partitions.insert(submission->request_partition);
  }
  return {partitions.begin(), partitions.end()};
}

CommitGroup::CommitGroup(absl::Span<Submission* const> submissions, WorkflowCatalog& catalog,
                         LaneCache& memory, DatabaseClock& clock, Way way, bool listening)
    : submissions_(submissions.begin(), submissions.end()),
      catalog_(catalog),
      memory_(memory),
      clock_(clock),
      way_(way),
      listening_(listening),
      partitions_(PartitionsOf(submissions)) {}

SteadyTime CommitGroup::last_deadline() const {
  SteadyTime last = SteadyTime::InfinitePast();
  for (const Submission* submission : submissions_)
    last = std::max(last, submission->deadline.time);
  return last;
}

// -------------------------------------------------------------------------------------------------
// what the lane has kept

namespace {

// What a sweep, or a request about many sessions, found in the database is decided by what stands
// there under a lock, even if somebody changed rows by hand, or a task sends signs of life: of
// neither a position tells.
bool WasFoundInDatabase(const Command& command) {
  return command.by_timeout || std::holds_alternative<v1::EraseOwnerRequest>(command.request) ||
         std::holds_alternative<v1::DetachReferenceRequest>(command.request) ||
         std::holds_alternative<v1::PurgeSessionsRequest>(command.request);
}

// Whether the session, and what is named below it, is not enough to know: a bare heartbeat leaves
// no trace, and of the id that a caller gives a new session there may be a tombstone.
bool TakesMoreThanItsSession(const Command& command) {
  const auto* heartbeat = std::get_if<v1::ReportTaskProgressRequest>(&command.request);
  if (heartbeat != nullptr) return !heartbeat->has_progress();
  const bool creates = command.workflow != nullptr;
  return creates && !command.session_id_drawn;
}

}  // namespace

bool CommitGroup::Recall(const Submission& submission) {
  if (WasFoundInDatabase(submission.command)) return false;
  const std::string& id = submission.command.session_id;
  if (const auto entry = entries_.find(id); entry != entries_.end()) return entry->second.recalled;
  Session session;
  if (!memory_.Find(submission.partition, id, &session)) return false;
  entries_[id] = {.aggregate = {.session = std::move(session)}, .recalled = true};
  return true;
}

bool CommitGroup::Prepare() {
  if (way_ == Way::kLocked) return true;
  for (const Submission* submission : submissions_) {
    const std::optional<int64_t> position = memory_.PositionOf(submission->partition);
    if (!position.has_value() || WasFoundInDatabase(submission->command)) return false;
    if (!submission->sent.empty()) return false;  // What may still come in, only a lock keeps out.
    positions_before_[submission->partition] = *position;
  }
  if (way_ == Way::kUnlocked) return true;

  const std::optional<absl::Time> now = clock_.Now();
  if (!now.has_value()) return false;
  now_ = *now;
  positions_ = positions_before_;
  return std::none_of(submissions_.begin(), submissions_.end(), [&](const Submission* submission) {
    return TakesMoreThanItsSession(submission->command) ||
           memory_.FindRequest(submission->request_key);
  });
}

// What the group has committed.
void CommitGroup::Keep() {
  for (const auto& [partition, position] : positions_) memory_.Left(partition, position);
  for (const Submission* submission : accepted_) memory_.KeepRequest(submission->request_key);
  for (const auto& [id, entry] : entries_) {
    if (entry.ended.has_value()) {
      memory_.Drop(id);
    } else if (entry.changed) {
      memory_.Keep(entry.partition, *entry.aggregate.session, entry.aggregate.blocking.count > 0);
    }
  }
}

// -------------------------------------------------------------------------------------------------
// trip 1

void CommitGroup::QueueLock(Connection& connection) const {
  Params lock;
  lock.AddInt2Array(partitions_);
  connection.Queue(kLockPartitions, std::move(lock));
}

// Of what was counted on: request rows in other partitions are guarded by their own key.
void CommitGroup::QueuePositions(Connection& connection) const {
  std::vector<int16_t> partitions;
  for (const auto& [partition, position] : positions_before_) partitions.push_back(partition);
  Params positions;
  positions.AddInt2Array(partitions);
  connection.Queue(kReadPositions, std::move(positions));
}

bool CommitGroup::QueueLoad(Connection& connection) {
  if (way_ == Way::kLocked) {
    connection.Queue(kBegin);
    QueueLock(connection);
  }
  const auto ask = [&](const Statement& statement, const auto& rows, auto write) {
    if (rows.empty()) return;
    connection.Queue(statement, SetParams(partitions_, rows, write));
    asked_.push_back(&statement);
  };

  // A session that several commands name is loaded once. An id that was drawn just now is nobody's
  // yet, unless it was written before and nobody knows.
  std::vector<SessionKey> sessions;
  std::set<absl::string_view> seen;
  for (const Submission* submission : submissions_) {
    const Command& command = submission->command;
    if (!seen.insert(command.session_id).second) continue;
    const bool fresh = command.session_id_drawn && way_ == Way::kOptimistic;
    if (!fresh && !Recall(*submission))
      sessions.push_back({submission->partition, command.session_id});
    entries_[command.session_id].partition = submission->partition;
  }
  ask(kLoadSessions, sessions, WriteSessionKey);

  if (way_ != Way::kOptimistic) {
    int index = 0;
    ask(kFindRequests, submissions_, [&index](const Submission* submission, RowWriter& out) {
      out.Int2(submission->request_partition);
      out.Uuid(submission->request_key);
      out.Int4(index++);
    });
  }

  std::vector<SessionKey> sent;
  for (std::size_t i = 0; i < submissions_.size(); ++i) {
    for (const Outcome& outcome : submissions_[i]->sent) {
      sent.push_back({submissions_[i]->partition, submissions_[i]->command.session_id,
                      static_cast<int32_t>(i), outcome.events.back().sequence()});
    }
  }
  ask(kFindSentEvents, sent, WriteSessionKey);

  std::vector<NamedKey> errors, artifacts, messages, tasks;
  for (const Submission* submission : submissions_) {
    const auto name = [&](std::vector<std::string> ids, std::vector<NamedKey>* all_named) {
      for (std::string& id : ids)
        all_named->push_back(
            {submission->partition, submission->command.session_id, std::move(id)});
    };
    NamedIds ids = NamedBy(submission->command.request);
    name(std::move(ids.errors), &errors);
    name(std::move(ids.artifacts), &artifacts);
    name(std::move(ids.messages), &messages);
    name(std::move(ids.tasks), &tasks);
  }
  ask(kLoadErrors, errors, WriteNamedKey);
  ask(kLoadArtifacts, artifacts, WriteNamedKey);
  ask(kFindMessageIds, messages, WriteNamedKey);
  ask(kFindTaskIds, tasks, WriteNamedKey);
  // Last: where they stand as the lane had left them, all of the above belongs together.
  if (way_ == Way::kUnlocked) QueuePositions(connection);
  return !asked_.empty();
}

void CommitGroup::TakeRequests(const Result& result) {
  for (int row = 0; row < result.rows(); ++row) {
    const std::string& key = submissions_[result.Int4(row, 0)]->request_key;
    memory_.KeepRequest(key);
    requests_[key] = {std::string(result.Text(row, 1)), std::string(result.Text(row, 2)),
                      std::string(result.Text(row, 3))};
  }
}

// An event of this sequence, time and request is the one that was sent: what came before it was the
// same then, and so is all that was decided. (But for ids that were drawn, should somebody else
// have sent the same request at the same microsecond; the request row tells.)
void CommitGroup::TakeSent(const Result& result) {
  for (int row = 0; row < result.rows(); ++row) {
    const Submission* submission = submissions_[result.Int4(row, 0)];
    for (const Outcome& sent : submission->sent) {
      const SessionEvent& event = sent.events.back();
      const bool same = event.sequence() == result.Int4(row, 1) &&
                        FromProto(event.event_time()) == result.Timestamp(row, 2) &&
                        event.caller() == result.Text(row, 3) &&
                        event.request_id() == result.Text(row, 4);
      if (same && IsAnswer(*submission, sent)) done_[submission] = &sent;
    }
  }
}

// Whether the request's row, which is gone where the session is, names the same.
bool CommitGroup::IsAnswer(const Submission& submission, const Outcome& sent) const {
  const auto request = requests_.find(submission.request_key);
  return request == requests_.end() ||
         request->second.answer == WriteAnswer(AnswersWith(submission.command.request), sent);
}

void CommitGroup::TakeNamed(const Statement& statement, const Result& result) {
  for (int row = 0; row < result.rows(); ++row) {
    if (&statement == &kLoadErrors) {
      SessionError error;
      ReadError(result, row, 0, &error);
      entries_[error.session_id()].aggregate.errors[error.error_id()] = std::move(error);
    } else if (&statement == &kLoadArtifacts) {
      SessionArtifact artifact;
      ReadArtifact(result, row, 0, &artifact);
      auto& artifacts = entries_[artifact.session_id()].aggregate.artifacts;
      artifacts[artifact.artifact_id()] = std::move(artifact);
    } else {
      entries_[std::string(result.Text(row, 0))].aggregate.used_ids.insert(
          std::string(result.Text(row, 1)));
    }
  }
}

namespace {

void TakeSession(const Result& result, int row, Aggregate* aggregate) {
  ReadSession(result, row, 1, &aggregate->session.emplace());
  aggregate->blocking.count = result.Int4(row, 1 + kBlockingErrorsColumn);
  const absl::string_view ids = result.Text(row, 1 + kSessionColumnCount);
  if (!ids.empty()) aggregate->blocking.ids = absl::StrSplit(ids, ',');
}

}  // namespace

void CommitGroup::Take(const Statement& statement, const Result& result) {
  if (&statement == &kFindRequests) return TakeRequests(result);
  if (&statement == &kFindSentEvents) return TakeSent(result);
  if (&statement != &kLoadSessions) return TakeNamed(statement, result);
  for (int row = 0; row < result.rows(); ++row)
    TakeSession(result, row, &entries_[std::string(result.Text(row, 1))].aggregate);
}

bool CommitGroup::TakePositions(const Result& result) {
  for (int row = 0; row < result.rows(); ++row) {
    const int16_t partition = result.Int2(row, 0);
    const int64_t position = result.Int8(row, 1);
    if (!memory_.Found(partition, position)) {
      if (way_ == Way::kUnlocked) return false;
      moved_.insert(partition);
    }
    positions_before_[partition] = position;
    now_ = result.Timestamp(row, 2);
  }
  clock_.Read(now_);
  positions_ = positions_before_;
  return true;
}

bool CommitGroup::TakeLoaded(const std::vector<Result>& results) {
  const bool locked = way_ == Way::kLocked;
  if (way_ != Way::kOptimistic && !TakePositions(locked ? results[1] : results.back()))
    return false;
  for (auto& [id, entry] : entries_) {
    if (!entry.recalled || !moved_.contains(entry.partition)) continue;
    entry = {.partition = entry.partition};
    missing_sessions_.push_back(id);
  }
  auto result = results.begin() + (locked ? 2 : 0);
  for (const Statement* statement : asked_) Take(*statement, *result++);
  return true;
}

// -------------------------------------------------------------------------------------------------
// trip 1b

// What a repeated request answers with.
void CommitGroup::NameMissing(const Submission& submission, const Replayed& request) {
  const std::string& id = request.session_id;
  // A creation whose id was drawn: the retry has drawn another one.
  if (!entries_.contains(id)) {
    entries_[id].partition = submission.request_partition;
    missing_sessions_.push_back(id);
  }
  // By now it may have been archived.
  const Entry& entry = entries_[id];
  if (!entry.aggregate.session.has_value()) missing_tombstones_.push_back(id);
  const Answers kind = AnswersWith(submission.command.request);
  if (kind != Answers::kError && kind != Answers::kArtifacts) return;
  for (const std::string& named : AnswerIds(request.answer)) {
    if (kind == Answers::kError) {
      missing_errors_.push_back({entry.partition, id, named});
    } else {
      missing_artifacts_.push_back({entry.partition, id, named});
    }
  }
}

bool CommitGroup::QueueMissing(Connection& connection) {
  if (way_ == Way::kOptimistic) return false;
  for (const Submission* submission : submissions_) {
    if (done_.contains(submission)) continue;
    const auto request = requests_.find(submission->request_key);
    if (request != requests_.end()) {
      NameMissing(*submission, request->second);
      continue;
    }
    const Entry& entry = entries_[submission->command.session_id];
    const bool fresh = submission->command.session_id_drawn;
    if (!entry.aggregate.session.has_value() && !fresh)
      missing_tombstones_.push_back(submission->command.session_id);
  }
  missing_workflows_ = std::any_of(entries_.begin(), entries_.end(), [&](const auto& item) {
    const auto& session = item.second.aggregate.session;
    return session.has_value() &&
           catalog_.Find(session->workflow(), session->workflow_revision()) == nullptr;
  });
  const auto queue = [&](const Statement& statement, const std::vector<std::string>& ids) {
    std::vector<SessionKey> keys;
    for (const std::string& id : ids)
      keys.push_back({entries_[id].partition, id, static_cast<int32_t>(keys.size())});
    if (!keys.empty()) connection.Queue(statement, SetParams(partitions_, keys, WriteSessionKey));
  };
  queue(kLoadSessions, missing_sessions_);
  queue(kFindTombstones, missing_tombstones_);
  if (!missing_errors_.empty())
    connection.Queue(kLoadErrors, SetParams(partitions_, missing_errors_, WriteNamedKey));
  if (!missing_artifacts_.empty())
    connection.Queue(kLoadArtifacts, SetParams(partitions_, missing_artifacts_, WriteNamedKey));
  if (missing_workflows_) connection.Queue(kLoadWorkflows);
  const bool any = missing_workflows_ || !missing_sessions_.empty() ||
                   !missing_tombstones_.empty() || !missing_errors_.empty() ||
                   !missing_artifacts_.empty();
  if (any && way_ == Way::kUnlocked) QueuePositions(connection);
  return any;
}

bool CommitGroup::TakeMissing(const std::vector<Result>& results) {
  auto result = results.begin();
  if (!missing_sessions_.empty()) {
    for (int row = 0; row < result->rows(); ++row)
      TakeSession(*result, row, &entries_[std::string(result->Text(row, 1))].aggregate);
    ++result;
  }
  if (!missing_tombstones_.empty()) {
    for (int row = 0; row < result->rows(); ++row) {
      entries_[missing_tombstones_[result->Int4(row, 0)]].aggregate.tombstone =
          Tombstone{.archive_time = result->Timestamp(row, 1)};
    }
    ++result;
  }
  if (!missing_errors_.empty()) TakeNamed(kLoadErrors, *result++);
  if (!missing_artifacts_.empty()) TakeNamed(kLoadArtifacts, *result++);
  if (missing_workflows_) AddWorkflows(*result, catalog_);
  return way_ == Way::kLocked || TakePositions(results.back());
}

// -------------------------------------------------------------------------------------------------
// decide

Decided CommitGroup::Decide() {
  const SteadyTime now = SteadyTime::Now();
  for (Submission* submission : submissions_) {
    // What nobody waits for any more is not sent: not by the first group either, if it waited.
    if (absl::Status why = submission->deadline.Check(now); !why.ok()) {
      submission->outcome = std::move(why);
      continue;
    }
    submission->outcome = DecideOne(*submission);
    const bool leaves_trace = submission->outcome.ok() && !submission->outcome->events.empty();
    if (way_ == Way::kOptimistic && !leaves_trace) return Decided::kUnsure;
  }
  return accepted_.empty() ? Decided::kNothingToWrite : Decided::kToBeWritten;
}

absl::StatusOr<Outcome> CommitGroup::DecideOne(Submission& submission) {
  if (const auto done = done_.find(&submission); done != done_.end()) return *done->second;
  const auto request = requests_.find(submission.request_key);
  if (request != requests_.end()) return Repeat(submission, request->second);

  const Command& command = submission.command;
  Entry& entry = entries_[command.session_id];
  WorkflowCatalog::Entry workflow = command.workflow;  // Of creations.
  if (workflow == nullptr && entry.aggregate.session.has_value()) {
    const Session& session = *entry.aggregate.session;
    workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  }
  if (workflow == nullptr) {
    // Without a session there is nothing that a workflow could say.
    if (auto exists = CheckExists(command.session_id, entry.aggregate, /*include_deleted=*/true);
        !exists.ok()) {
      return exists;
    }
    return NotUnderstood(*entry.aggregate.session);
  }

  absl::StatusOr<Decision> decision = sessiond::Decide(*workflow, entry.aggregate, command, now_);
  if (!decision.ok()) return decision.status();
  return Accept(submission, entry, *std::move(decision));
}

Outcome CommitGroup::Accept(Submission& submission, Entry& entry, Decision decision) {
  // An earlier command of this group answers with the session as it left it, which is now.
  if (entry.last != nullptr) Present(*entry.aggregate.session, &entry.last->outcome->session);
  entry.last = &submission;
  std::shared_ptr<const Session> session_before;
  if (listening_ && entry.aggregate.session.has_value()) {
    auto presented = std::make_shared<Session>();
    Present(*entry.aggregate.session, presented.get());
    session_before = std::move(presented);
  }

  // The events, and what else rows point at, stay where they are while their owners move.
  Outcome outcome;
  outcome.session.set_session_id(decision.session.session_id());
  outcome.events = std::move(decision.events);
  outcome.errors = decision.errors;
  outcome.artifacts = decision.artifacts;
  for (SessionError& error : outcome.errors) sessiond::Present(now_, &error);
  const auto& before = before_.emplace_back(std::move(decision.before));
  for (std::size_t i = 0; i < outcome.events.size(); ++i) {
    events_.push_back(
        {submission.partition, ++positions_[submission.partition], &outcome.events[i], &before[i]});
  }
  AcceptRows(entry, outcome, decision);
  if (!decision.messages.empty()) {
    outcome.first_sequence = decision.messages.front().message.sequence();
    outcome.last_sequence = decision.messages.back().message.sequence();
  }
  if (decision.end != Decision::End::kNone) {
    entry.ended = {entry.partition, decision.session, decision.end == Decision::End::kErased};
    entry.last = nullptr;
  }
  Apply(decision, &entry.aggregate);
  if (!decision.messages.empty()) {
    for (const NewMessage& message : messages_.emplace_back(std::move(decision.messages)))
      entry.messages.push_back(&message);
  }
  if (entry.aggregate.session.has_value())
    *outcome.session.mutable_current_task() = entry.aggregate.session->current_task();

  if (listening_) Commit(submission, entry, outcome, std::move(session_before));
  accepted_.push_back(&submission);
  requests_[submission.request_key] = {
      submission.fingerprint, submission.command.session_id,
      WriteAnswer(AnswersWith(submission.command.request), outcome)};
  return outcome;
}

// Notes which rows change; their contents are the aggregate's, once the group is decided.
void CommitGroup::AcceptRows(Entry& entry, const Outcome& outcome, const Decision& decision) {
  for (const SessionEvent& event : outcome.events) {
    const bool born = event.sequence() == 1;
    const bool updated = event.type() == SessionEvent::UPDATED;
    entry.created |= born;
    entry.changed = true;
    entry.fields_changed |= born || updated;
    entry.counters_changed |= born || updated || event.type() == SessionEvent::MESSAGES_APPENDED;
    entry.references_changed |= born || updated || event.type() == SessionEvent::REFERENCE_DETACHED;
  }
  entry.task_changed |= decision.task_changed;
  for (const SessionError& error : decision.errors) {
    const bool known = entry.aggregate.errors.contains(error.error_id());
    if (!known) entry.recorded.insert(error.error_id());
    if (!entry.recorded.contains(error.error_id())) entry.resolved.insert(error.error_id());
  }
  for (const SessionArtifact& artifact : decision.artifacts)
    entry.added_artifacts.insert(artifact.artifact_id());
  for (const std::string& id : decision.deleted_artifacts) {
    // One that this group added was never written.
    if (entry.added_artifacts.erase(id) == 0) entry.deleted_artifacts.insert(id);
  }
}

absl::StatusOr<Outcome> CommitGroup::Repeat(const Submission& submission, const Replayed& request) {
  if (request.fingerprint != submission.fingerprint)
    return RequestIdReused(submission.command.request_id);
  const Entry& entry = entries_[request.session_id];
  if (auto exists = CheckExists(request.session_id, entry.aggregate, /*include_deleted=*/true);
      !exists.ok()) {
    return exists;
  }
  Outcome outcome;
  Present(*entry.aggregate.session, &outcome.session);
  switch (AnswersWith(submission.command.request)) {
    case Answers::kSession:
      break;
    case Answers::kTask:
      if (outcome.session.current_task().task_id() != request.answer)
        return RunWasReplaced(request.answer, outcome.session);
      break;
    case Answers::kError:
      if (const auto found = entry.aggregate.errors.find(request.answer);
          found != entry.aggregate.errors.end()) {
        sessiond::Present(now_, &outcome.errors.emplace_back(found->second));
      }
      break;
    case Answers::kArtifacts:
      for (const std::string& id : AnswerIds(request.answer)) {
        const auto found = entry.aggregate.artifacts.find(id);
        if (found != entry.aggregate.artifacts.end()) outcome.artifacts.push_back(found->second);
      }
      break;
    case Answers::kMessages:
      ReadMessagesAnswer(request.answer, &outcome);
      break;
  }
  return outcome;
}

// The session for a reader.
void CommitGroup::Present(Session session, Session* answer) const {
  const auto workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  if (workflow != nullptr) sessiond::Present(*workflow, now_, &session);
  *answer = std::move(session);
}

// -------------------------------------------------------------------------------------------------
// trip 2

GroupRows CommitGroup::Rows() const {
  GroupRows rows{.now = now_, .events = events_};
  std::set<int16_t> checked;
  std::optional<absl::Time> until;
  if (way_ != Way::kLocked) {
    // Also where there are no events, as of a bare heartbeat.
    for (const Submission* submission : accepted_) checked.insert(submission->partition);
    until = now_ + kUnlockedMax;
  }
  for (const auto& [partition, position] : positions_) {
    const int64_t before = positions_before_.at(partition);
    if (position > before || checked.contains(partition))
      rows.advanced.push_back({partition, before, position - before, until});
  }
  for (const auto& [id, entry] : entries_) {
    if (entry.ended.has_value()) {
      rows.ended.push_back(*entry.ended);
      continue;
    }
    const Aggregate& aggregate = entry.aggregate;
    if (entry.changed) {
      (entry.created ? rows.created : rows.updated)
          .push_back({entry.partition, &*aggregate.session, aggregate.blocking.count,
                      entry.fields_changed, entry.counters_changed, entry.references_changed});
    }
    if (entry.task_changed)
      rows.tasks.push_back({entry.partition, &aggregate.session->current_task()});
    for (const std::string& error : entry.recorded)
      rows.recorded.push_back({entry.partition, &aggregate.errors.at(error)});
    for (const std::string& error : entry.resolved)
      rows.resolved.push_back({entry.partition, &aggregate.errors.at(error)});
    for (const std::string& artifact : entry.added_artifacts)
      rows.artifacts.push_back({entry.partition, &aggregate.artifacts.at(artifact)});
    for (const std::string& artifact : entry.deleted_artifacts)
      rows.deleted_artifacts.push_back({entry.partition, id, artifact});
    for (const NewMessage* message : entry.messages)
      rows.messages.push_back({entry.partition, message});
  }
  for (const Submission* submission : accepted_) {
    // What has no event had no effect that a repetition could double; of what is gone nothing
    // stays, but for errors: written all the same, their patterns outlive it.
    if (submission->outcome->events.empty()) continue;
    if (const Entry& entry = entries_.at(submission->command.session_id); entry.ended.has_value()) {
      for (const SessionError& error : submission->outcome->errors) {
        if (entry.recorded.contains(error.error_id()))
          rows.recorded.push_back({entry.partition, &error});
      }
      continue;
    }
    rows.requests.push_back({submission->request_partition, submission->request_key,
                             submission->fingerprint, submission->command.session_id,
                             requests_.at(submission->request_key).answer});
  }
  return rows;
}

void CommitGroup::QueueWrites(Connection& connection) {
  if (way_ != Way::kLocked) {
    connection.Queue(kBegin);
    expected_.push_back({kBegin.name, kAny});
    // One is locked by its update.
    if (partitions_.size() > 1) {
      QueueLock(connection);
      expected_.push_back({kLockPartitions.name, kAny});
    }
  }
  before_rows_ = expected_.size();
  QueueRows(Rows(), partitions_, connection, &expected_);
  connection.Queue(kCommit);
}

void CommitGroup::Answer(const std::vector<Result>& written) {
  if (!WroteAsExpected(expected_, written)) {
    const absl::Status defect =
        Refusal(v1::CONSTRAINT_VIOLATION, "The database wrote other rows than it was told to.");
    for (Submission* submission : accepted_) submission->outcome = defect;
    committed_.clear();
    return;
  }
  if (way_ != Way::kLocked) clock_.Read(written[before_rows_].Timestamp(0, 0));
  Keep();
  for (auto& [id, entry] : entries_) {
    if (entry.last != nullptr) {
      Present(*std::move(entry.aggregate.session), &entry.last->outcome->session);
    }
  }
}

void CommitGroup::LeaveInDoubt() {
  for (auto& [id, entry] : entries_) {
    if (entry.last != nullptr)
      Present(*std::move(entry.aggregate.session), &entry.last->outcome->session);
  }
  for (Submission* submission : accepted_) {
    // What has no event can be done again.
    if (!submission->outcome->events.empty())
      submission->sent.push_back(*std::move(submission->outcome));
  }
}

bool CommitGroup::AnyAccepted() const {
  return std::any_of(submissions_.begin(), submissions_.end(),
                     [](const Submission* submission) { return submission->outcome.ok(); });
}

// What watches will hear of, should the group commit.
void CommitGroup::Commit(const Submission& submission, const Entry& entry, const Outcome& outcome,
                         std::shared_ptr<const Session> before) {
  std::shared_ptr<Session> after;
  if (entry.aggregate.session.has_value()) {
    after = std::make_shared<Session>();
    Present(*entry.aggregate.session, after.get());
  }
  int64_t position = positions_[submission.partition] - static_cast<int64_t>(outcome.events.size());
  for (const SessionEvent& event : outcome.events) {
    committed_.push_back({.partition = submission.partition,
                          .position = ++position,
                          .event = event,
                          .session = after,
                          .session_before = before});
    if (event.type() != SessionEvent::MESSAGES_APPENDED) continue;
    for (const NewMessage& message : messages_.back())
      committed_.back().messages.push_back(message.message);
  }
}

}  // namespace sessiond::db
