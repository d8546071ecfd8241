#include "db/write/commit_group.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/write/named_ids.h"
#include "db/write/repeated_request.h"
#include "state_machine/preconditions.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;

// A group decided without locks is refused after this long: if the daemon was frozen meanwhile, or
// the connection held the group back, it would write outdated state.
constexpr absl::Duration kOptimisticMax = absl::Seconds(5);

// Made by a newer daemon.
absl::Status NotUnderstood(const Session& session) {
  return Refusal(v1::SCHEMA_MISMATCH,
                 absl::StrCat("This daemon does not understand revision ",
                              session.workflow_revision(), " of workflow ", session.workflow(),
                              ", which the session keeps. Upgrade the daemon."));
}

// What a sweep, or a request about many sessions, found in the database is decided by the rows as
// they are under a lock: rows changed by hand and heartbeats of tasks move no position.
bool WasFoundInDatabase(const Command& command) {
  return command.by_timeout || std::holds_alternative<v1::EraseOwnerRequest>(command.request) ||
         std::holds_alternative<v1::DetachReferenceRequest>(command.request) ||
         std::holds_alternative<v1::PurgeSessionsRequest>(command.request);
}

bool IsBareHeartbeat(const Command& command) {
  const auto* report = std::get_if<v1::ReportTaskProgressRequest>(&command.request);
  return report != nullptr && !report->has_progress();
}

// A creation with an id of the caller's own, for which there may be a tombstone.
bool BringsSessionId(const Command& command) {
  return command.workflow != nullptr && !command.session_id_drawn;
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

CommitGroup::CommitGroup(absl::Span<Submission* const> submissions, const WorkflowCatalog& catalog,
                         LaneCache& cache, DatabaseClock& clock, CommitMode mode, bool listening)
    : submissions_(submissions.begin(), submissions.end()),
      catalog_(catalog),
      cache_(cache),
      clock_(clock),
      mode_(mode),
      listening_(listening),
      partitions_(PartitionsOf(submissions)) {
  if (mode_ == CommitMode::kOptimistic) in_vain_ = !BeginOptimistic();
}

bool CommitGroup::BeginOptimistic() {
  const std::optional<absl::Time> now = clock_.Now();
  if (!now.has_value()) return false;
  now_ = *now;
  for (const Submission* submission : submissions_) {
    const std::optional<int64_t> position = cache_.PositionOf(submission->partition);
    // What was sent before may still arrive: only a lock prevents that.
    if (!position.has_value() || !submission->sent.empty() ||
        WasFoundInDatabase(submission->command) || cache_.HasRequest(submission->request_key)) {
      return false;
    }
    positions_before_[submission->partition] = *position;
  }
  positions_ = positions_before_;
  return true;
}

// -------------------------------------------------------------------------------------------------
// lookups

std::optional<GroupLookups> CommitGroup::Next() {
  while (step_ != Step::kEnd && !in_vain_) {
    GroupLookups lookups;
    switch (step_) {
      case Step::kLoad:
        lookups = FirstLookups();
        step_ = Step::kComplete;
        break;
      case Step::kComplete:
        lookups = BelowLookups();
        if (mode_ == CommitMode::kLocked) AddMissing(&lookups);
        step_ = Step::kDecide;
        break;
      case Step::kDecide:
        Decide();
        if (mode_ == CommitMode::kOptimistic) lookups = UncheckedLookups();
        step_ = Step::kEnd;
        break;
      case Step::kEnd:
        break;
    }
    if (lookups.empty() || in_vain_) continue;
    lookups.partitions = partitions_;
    return lookups;
  }
  return std::nullopt;
}

Decided CommitGroup::decided() const {
  if (in_vain_) return Decided::kInVain;
  return accepted_.empty() ? Decided::kNothingToWrite : Decided::kToBeWritten;
}

// Most groups have no caller who does not see everything.
void CommitGroup::NoteScopes() {
  const auto limited = [](const Submission* submission) {
    return !submission->command.scope.everything();
  };
  if (std::none_of(submissions_.begin(), submissions_.end(), limited)) return;
  for (const Submission* submission : submissions_) {
    if (!limited(submission)) continue;
    const Scope& scope = submission->command.scope;
    std::vector<const Scope*>& scopes = scopes_[submission->command.session_id];
    if (std::none_of(scopes.begin(), scopes.end(),
                     [&scope](const Scope* each) { return *each == scope; })) {
      scopes.push_back(&scope);
    }
  }
  for (const Submission* submission : submissions_) {
    if (!limited(submission)) scopes_.erase(submission->command.session_id);
  }
}

GroupLookups CommitGroup::FirstLookups() {
  const bool locked = mode_ == CommitMode::kLocked;
  GroupLookups lookups{.lock = locked};
  NoteScopes();
  int32_t ix = 0;
  for (const Submission* submission : submissions_) {
    const Command& command = submission->command;
    const auto [at, first] = entries_.try_emplace(command.session_id);
    // A session named by several commands is loaded once.
    if (first) LookUpSession(*submission, at->second, &lookups);
    if (BringsSessionId(command) && !locked)
      lookups.AddTombstone(submission->partition, command.session_id);
    if (locked || IsBareHeartbeat(command))
      lookups.requests.push_back({submission->request_partition, submission->request_key, ix});
    for (const Outcome& sent : submission->sent) {
      lookups.events.push_back(
          {submission->partition, command.session_id, ix, sent.events.back().sequence()});
    }
    const auto& session = at->second.aggregate.session;
    if (command.scope.everything() || (session.has_value() && command.scope.Has(*session))) {
      LookUpNamed(*submission, &lookups);
    } else {
      below_later_.push_back(submission);
    }
    ++ix;
  }
  return lookups;
}

void CommitGroup::LookUpSession(const Submission& submission, Entry& entry, GroupLookups* lookups) {
  const Command& command = submission.command;
  entry.partition = submission.partition;
  absl::Span<const Scope* const> in;
  if (const auto scopes = scopes_.find(command.session_id); scopes != scopes_.end())
    in = scopes->second;
  if (!WasFoundInDatabase(command))
    entry.aggregate.session = cache_.Get(entry.partition, command.session_id, in);
  entry.from_cache = entry.aggregate.session.has_value();
  // An id drawn just now is unused, unless an earlier commit of unknown outcome wrote it.
  const bool is_new = command.session_id_drawn && mode_ == CommitMode::kOptimistic;
  if (entry.from_cache || is_new) return;
  lookups->AddSession(entry.partition, command.session_id, in);
  // That an id is taken shows even if the session that has it does not.
  if (!in.empty() && command.workflow != nullptr)
    lookups->AddOwner(entry.partition, command.session_id);
}

void CommitGroup::LookUpNamed(const Submission& submission, GroupLookups* lookups) const {
  const auto look_up = [&](std::vector<std::string> ids, std::vector<NamedKey>* keys) {
    for (std::string& id : ids)
      keys->push_back({submission.partition, submission.command.session_id, std::move(id)});
  };
  NamedIds ids = NamedBy(submission.command);
  look_up(std::move(ids.errors), &lookups->errors);
  look_up(std::move(ids.artifacts), &lookups->artifacts);
  look_up(std::move(ids.messages), &lookups->message_ids);
  look_up(std::move(ids.tasks), &lookups->task_ids);
}

// What is below sessions that may have been out of scope, and are not. (Void ones are loaded only
// now.)
GroupLookups CommitGroup::BelowLookups() {
  GroupLookups lookups;
  for (const Submission* submission : below_later_) {
    const Command& command = submission->command;
    const auto& session = entries_.at(command.session_id).aggregate.session;
    const bool is_void =
        std::count(void_sessions_.begin(), void_sessions_.end(), command.session_id) > 0;
    if (is_void || (session.has_value() && command.scope.Has(*session)))
      LookUpNamed(*submission, &lookups);
  }
  return lookups;
}

// What the first round trip has shown to be needed; under locks, so that nothing changes.
void CommitGroup::AddMissing(GroupLookups* lookups) {
  for (const std::string& id : void_sessions_) {
    const int16_t partition = entries_[id].partition;
    const auto scopes = scopes_.find(id);
    if (scopes == scopes_.end()) {
      lookups->AddSession(partition, id);
    } else {
      lookups->AddSession(partition, id, scopes->second);
      lookups->AddOwner(partition, id);
    }
  }
  for (const Submission* submission : submissions_) {
    if (done_.contains(submission)) continue;
    const std::string& id = submission->command.session_id;
    const auto request = requests_.find(submission->request_key);
    if (request != requests_.end()) {
      LookUpAnswer(*submission, request->second, lookups);
    } else if (!submission->command.session_id_drawn &&
               !entries_[id].aggregate.session.has_value()) {
      lookups->AddTombstone(submission->partition, id);
    }
  }
  lookups->workflows = std::any_of(entries_.begin(), entries_.end(), [&](const auto& item) {
    const auto& session = item.second.aggregate.session;
    return session.has_value() && !session->workflow().empty() &&
           catalog_.Find(session->workflow(), session->workflow_revision()) == nullptr;
  });
}

// What is needed to answer a repeated request.
void CommitGroup::LookUpAnswer(const Submission& submission, const DoneRequest& request,
                               GroupLookups* lookups) {
  const std::string& id = request.session_id;
  const auto [at, first] = entries_.try_emplace(id);
  Entry& entry = at->second;
  // A creation whose id was drawn: the retry has drawn another id.
  if (first) {
    entry.partition = submission.request_partition;
    std::vector<const Scope*> in;
    if (!submission.command.scope.everything()) in.push_back(&submission.command.scope);
    lookups->AddSession(entry.partition, id, in);
  }
  // It may have been archived since.
  if (!entry.aggregate.session.has_value()) lookups->AddTombstone(entry.partition, id);
  const NamedIds named = NamedByAnswer(submission.command.request, request.answer);
  for (const std::string& error : named.errors)
    lookups->errors.push_back({entry.partition, id, error});
  for (const std::string& artifact : named.artifacts)
    lookups->artifacts.push_back({entry.partition, id, artifact});
}

// What no commit would find out: repeated requests, and decisions by outdated state.
GroupLookups CommitGroup::UncheckedLookups() const {
  GroupLookups lookups;
  if (unchecked_.empty()) return lookups;
  for (const auto& [partition, position] : positions_before_)
    lookups.positions.push_back(partition);
  for (const Submission* submission : unchecked_) {
    const auto ix = static_cast<int32_t>(lookups.requests.size());
    const std::string& id = submission->command.session_id;
    lookups.requests.push_back({submission->request_partition, submission->request_key, ix});
    const Aggregate& aggregate = entries_.at(id).aggregate;
    if (!aggregate.session.has_value() && !aggregate.tombstone.has_value())
      lookups.AddTombstone(submission->partition, id);
  }
  return lookups;
}

void CommitGroup::Take(GroupFinds finds) {
  if (!finds.positions.empty()) TakePositions(finds);
  if (mode_ == CommitMode::kOptimistic) {
    const bool decided = step_ == Step::kEnd;
    in_vain_ |= !finds.requests.empty() || (decided && !finds.tombstones.empty());
    if (in_vain_ || decided) return;
  }
  for (auto& [session, blocking] : finds.sessions) {
    Aggregate& aggregate = entries_[session.session_id()].aggregate;
    aggregate.blocking = std::move(blocking);
    aggregate.session = std::move(session);
  }
  for (auto& [id, namespace_name, owner_id] : finds.owners) {
    // Out of everybody's scope: of the session there is no more than that.
    auto& session = entries_[id].aggregate.session;
    if (session.has_value()) continue;
    session.emplace().set_session_id(id);
    session->set_namespace_(std::move(namespace_name));
    session->set_owner_id(std::move(owner_id));
  }
  for (auto& [id, tombstone] : finds.tombstones)
    entries_[id].aggregate.tombstone = std::move(tombstone);
  for (auto& [ix, fingerprint, session_id, answer] : finds.requests) {
    const std::string& key = submissions_[ix]->request_key;
    cache_.PutRequest(key);
    requests_[key] = {std::move(fingerprint), std::move(session_id), std::move(answer)};
  }
  for (const GroupFinds::FoundEvent& found : finds.events) TakeEvent(found);
  for (SessionError& error : finds.errors) {
    auto& errors = entries_[error.session_id()].aggregate.errors;
    errors[error.error_id()] = std::move(error);
  }
  for (SessionArtifact& artifact : finds.artifacts) {
    auto& artifacts = entries_[artifact.session_id()].aggregate.artifacts;
    artifacts[artifact.artifact_id()] = std::move(artifact);
  }
  for (auto& [session_id, id] : finds.used_ids)
    entries_[session_id].aggregate.used_ids.insert(std::move(id));
}

// If another daemon has moved a partition, its cached sessions are void.
void CommitGroup::TakePositions(const GroupFinds& finds) {
  std::set<int16_t> moved;
  for (const auto& [partition, position] : finds.positions) {
    if (!cache_.Observe(partition, position)) moved.insert(partition);
    if (mode_ == CommitMode::kLocked) positions_before_[partition] = position;
  }
  if (mode_ == CommitMode::kOptimistic) {
    in_vain_ |= !moved.empty();
    return;
  }
  positions_ = positions_before_;
  now_ = finds.now;
  clock_.Read(now_);
  for (auto& [id, entry] : entries_) {
    if (!entry.from_cache || !moved.contains(entry.partition)) continue;
    entry = {.partition = entry.partition};
    void_sessions_.push_back(id);
  }
}

// An event of this sequence, time and request is the one that was sent, or what another daemon made
// of the same request: of the same state, at the same time and with the same seed it decided the
// same. Equal times are no coincidence: if the database's clock was set back, both are the
// session's last. Only the request row, which is gone if the session is, shows whether it was
// another request with the same id, and whether the other daemon was of a version that drew its ids
// at random.
void CommitGroup::TakeEvent(const GroupFinds::FoundEvent& found) {
  const Submission& submission = *submissions_[found.ix];
  const auto request = requests_.find(submission.request_key);
  for (const Outcome& sent : submission.sent) {
    const SessionEvent& event = sent.events.back();
    const bool same = event.sequence() == found.sequence &&
                      FromProto(event.event_time()) == found.event_time &&
                      event.caller() == found.caller && event.request_id() == found.request_id;
    const bool answers = request == requests_.end() ||
                         (request->second.fingerprint == submission.fingerprint &&
                          request->second.answer == WriteAnswer(submission.command.request, sent));
    if (same && answers) done_[&submission] = &sent;
  }
}

// -------------------------------------------------------------------------------------------------
// decisions

void CommitGroup::Decide() {
  const SteadyTime now = SteadyTime::Now();
  for (Submission* submission : submissions_) {
    // A command whose caller has gone is not carried out, however often the group was run.
    if (absl::Status why = submission->deadline.Check(now); !why.ok()) {
      submission->outcome = std::move(why);
      continue;
    }
    submission->outcome = DecideOne(*submission);
    if (mode_ == CommitMode::kOptimistic && !WillBeChecked(*submission))
      unchecked_.push_back(submission);
  }
}

// Whether the commit finds out if the command repeats a request: it does by the request rows that
// it writes; for bare heartbeats that was looked up.
bool CommitGroup::WillBeChecked(const Submission& submission) const {
  if (!requests_.contains(submission.request_key)) return false;  // Refused.
  const bool writes_row = accepted_.back() != &submission || !submission.outcome->events.empty();
  return writes_row || IsBareHeartbeat(submission.command);
}

absl::StatusOr<Outcome> CommitGroup::DecideOne(Submission& submission) {
  if (const auto done = done_.find(&submission); done != done_.end()) return *done->second;
  const auto request = requests_.find(submission.request_key);
  if (request != requests_.end()) return Repeat(submission, request->second);

  const Command& command = submission.command;
  Entry& entry = entries_[command.session_id];
  WorkflowCatalog::Entry workflow = command.workflow;  // For creations.
  if (workflow == nullptr && entry.aggregate.session.has_value()) {
    const Session& session = *entry.aggregate.session;
    workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  }
  if (workflow == nullptr) {
    // Without a session, no workflow applies.
    if (auto exists = CheckExists(command.session_id, entry.aggregate, command.scope,
                                  /*include_deleted=*/true);
        !exists.ok()) {
      return exists;
    }
    in_vain_ = mode_ == CommitMode::kOptimistic;  // The other mode looks for new workflows.
    return NotUnderstood(*entry.aggregate.session);
  }

  absl::StatusOr<Decision> decision = sessiond::Decide(*workflow, entry.aggregate, command, now_);
  if (!decision.ok()) return decision.status();
  return Accept(submission, entry, *std::move(decision));
}

Outcome CommitGroup::Accept(Submission& submission, Entry& entry, Decision decision) {
  // An earlier command of this group answers with the session as it left it: the current state.
  if (entry.last != nullptr) Present(*entry.aggregate.session, &entry.last->outcome->session);
  entry.last = &submission;
  std::shared_ptr<const Session> session_before;
  if (listening_ && entry.aggregate.session.has_value()) {
    auto presented = std::make_shared<Session>();
    Present(*entry.aggregate.session, presented.get());
    session_before = std::move(presented);
  }

  // Events, and all else that rows point at, keep their addresses while their owners move.
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

  if (listening_) Collect(submission, entry, outcome, std::move(session_before));
  accepted_.push_back(&submission);
  requests_[submission.request_key] = {submission.fingerprint, submission.command.session_id,
                                       WriteAnswer(submission.command.request, outcome)};
  return outcome;
}

// Notes which rows change; their contents come from the aggregate, once the group is decided.
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
    // An artifact that this group added was never written.
    if (entry.added_artifacts.erase(id) == 0) entry.deleted_artifacts.insert(id);
  }
}

absl::StatusOr<Outcome> CommitGroup::Repeat(const Submission& submission,
                                            const DoneRequest& request) {
  const Aggregate& aggregate = entries_[request.session_id].aggregate;
  Outcome outcome;
  if (aggregate.session.has_value()) Present(*aggregate.session, &outcome.session);
  return AnswerRepetition(submission, request, aggregate, now_, std::move(outcome));
}

// The session as it is presented to a reader.
void CommitGroup::Present(Session session, Session* answer) const {
  const auto workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  if (workflow != nullptr) sessiond::Present(*workflow, now_, &session);
  *answer = std::move(session);
}

// -------------------------------------------------------------------------------------------------
// writes

GroupRows CommitGroup::Rows() const {
  GroupRows rows{.partitions = partitions_,
                 .begin = mode_ == CommitMode::kOptimistic,
                 .now = now_,
                 .events = events_};
  std::set<int16_t> checked;
  std::optional<absl::Time> until;
  if (mode_ == CommitMode::kOptimistic) {
    // Also if there are no events, as for a bare heartbeat.
    for (const Submission* submission : accepted_) checked.insert(submission->partition);
    until = now_ + kOptimisticMax;
  }
  for (const auto& [partition, position] : positions_) {
    const int64_t before = positions_before_.at(partition);
    if (position > before || checked.contains(partition))
      rows.advanced.push_back({partition, before, position - before, until});
  }
  for (const auto& [id, entry] : entries_) AddRowsOf(id, entry, &rows);
  for (const Submission* submission : accepted_) AddRequestOf(*submission, &rows);
  return rows;
}

void CommitGroup::AddRowsOf(const std::string& id, const Entry& entry, GroupRows* rows) const {
  if (entry.ended.has_value()) {
    rows->ended.push_back(*entry.ended);
    return;
  }
  const Aggregate& aggregate = entry.aggregate;
  if (entry.changed) {
    (entry.created ? rows->created : rows->updated)
        .push_back({entry.partition, &*aggregate.session, aggregate.blocking.count,
                    entry.fields_changed, entry.counters_changed, entry.references_changed});
  }
  if (entry.task_changed)
    rows->tasks.push_back({entry.partition, &aggregate.session->current_task()});
  for (const std::string& error : entry.recorded)
    rows->recorded.push_back({entry.partition, &aggregate.errors.at(error)});
  for (const std::string& error : entry.resolved)
    rows->resolved.push_back({entry.partition, &aggregate.errors.at(error)});
  for (const std::string& artifact : entry.added_artifacts)
    rows->artifacts.push_back({entry.partition, &aggregate.artifacts.at(artifact)});
  for (const std::string& artifact : entry.deleted_artifacts)
    rows->deleted_artifacts.push_back({entry.partition, id, artifact});
  for (const NewMessage* message : entry.messages)
    rows->messages.push_back({entry.partition, message});
}

// A command without an event had no effect that a repetition could double. Nothing is written for a
// session that is gone, except errors: their patterns outlive it.
void CommitGroup::AddRequestOf(const Submission& submission, GroupRows* rows) const {
  if (submission.outcome->events.empty()) return;
  const Entry& entry = entries_.at(submission.command.session_id);
  if (entry.ended.has_value()) {
    for (const SessionError& error : submission.outcome->errors) {
      if (entry.recorded.contains(error.error_id()))
        rows->recorded.push_back({entry.partition, &error});
    }
    return;
  }
  rows->requests.push_back({submission.request_partition, submission.request_key,
                            submission.fingerprint, submission.command.session_id,
                            requests_.at(submission.request_key).answer});
}

void CommitGroup::Committed(absl::Time now) {
  if (mode_ == CommitMode::kOptimistic) clock_.Read(now);
  UpdateCache();
  PresentLast();
}

void CommitGroup::UpdateCache() {
  for (const auto& [partition, position] : positions_) cache_.Advance(partition, position);
  for (const Submission* submission : accepted_) cache_.PutRequest(submission->request_key);
  for (const auto& [id, entry] : entries_) {
    if (entry.ended.has_value()) {
      cache_.Erase(id);
    } else if (entry.changed) {
      cache_.Put(entry.partition, *entry.aggregate.session, entry.aggregate.blocking.count > 0);
    }
  }
}

// The last command of each session answers with the session as it is now.
void CommitGroup::PresentLast() {
  for (auto& [id, entry] : entries_) {
    if (entry.last != nullptr)
      Present(*std::move(entry.aggregate.session), &entry.last->outcome->session);
  }
}

void CommitGroup::LeftInDoubt() {
  PresentLast();
  for (Submission* submission : accepted_) {
    // A command without an event can be done again.
    if (!submission->outcome->events.empty())
      submission->sent.push_back(*std::move(submission->outcome));
  }
}

void CommitGroup::Refuse(const absl::Status& why) {
  for (Submission* submission : accepted_) submission->outcome = why;
  committed_.clear();
}

bool CommitGroup::AnyAccepted() const {
  return std::any_of(submissions_.begin(), submissions_.end(),
                     [](const Submission* submission) { return submission->outcome.ok(); });
}

// What watches will receive if the group commits.
void CommitGroup::Collect(const Submission& submission, const Entry& entry, const Outcome& outcome,
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
