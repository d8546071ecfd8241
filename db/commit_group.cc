#include "db/commit_group.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "db/session_rows.h"
#include "db/statements.h"
#include "db/workflow_rows.h"
#include "server/state_machine/refusal.h"
#include "server/state_machine/struct_json.h"
#include "server/state_machine/timestamps.h"

namespace sessiond::db {
namespace {

using v1::Session;
using v1::SessionEvent;

std::vector<int16_t> PartitionsOf(absl::Span<Submission* const> submissions) {
  std::set<int16_t> partitions;
  for (const Submission* submission : submissions) {
    partitions.insert(submission->partition);
    partitions.insert(submission->request_partition);
  }
  return {partitions.begin(), partitions.end()};
}

bool IsCreation(const Command& command) {
  return std::holds_alternative<v1::CreateSessionRequest>(command.request);
}

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

// One column after another, of rows that are read once for each column.
template <class Row>
class Columns {
 public:
  Columns(const std::vector<Row>& rows, Params& params) : rows_(rows), params_(params) {}

  template <class Get>
  void Int2(Get get) {
    params_.AddInt2Array(Collect<int16_t>(get));
  }
  template <class Get>
  void Int4(Get get) {
    params_.AddInt4Array(Collect<int32_t>(get));
  }
  template <class Get>
  void Int8(Get get) {
    params_.AddInt8Array(Collect<int64_t>(get));
  }
  template <class Get>
  void Text(Get get) {
    params_.AddTextArray(Collect<absl::string_view>(get));
  }
  template <class Get>
  void Uuid(Get get) {
    params_.AddUuidArray(Collect<absl::string_view>(get));
  }
  template <class Get>
  void Bool(Get get) {
    // std::vector<bool> has no elements to point at.
    std::vector<char> values;
    for (const Row& row : rows_) values.push_back(get(row));
    params_.AddBoolArray(
        absl::MakeSpan(reinterpret_cast<const bool*>(values.data()), values.size()));
  }
  template <class Get>
  void Jsonb(Get get) {
    params_.AddJsonbArray(Collect<std::optional<std::string>>(get));
  }
  template <class Get>
  void Time(Get get) {
    params_.AddTimestampArray(Collect<std::optional<absl::Time>>(get));
  }

 private:
  template <class T, class Get>
  std::vector<T> Collect(Get get) const {
    std::vector<T> values;
    values.reserve(rows_.size());
    for (const Row& row : rows_) values.push_back(static_cast<T>(get(row)));
    return values;
  }
  const std::vector<Row>& rows_;
  Params& params_;
};

std::optional<absl::Time> OptionalTime(bool has, const google::protobuf::Timestamp& time) {
  if (!has) return std::nullopt;
  return FromProto(time);
}

}  // namespace

CommitGroup::CommitGroup(absl::Span<Submission* const> submissions, WorkflowCatalog& catalog)
    : submissions_(submissions.begin(), submissions.end()),
      catalog_(catalog),
      partitions_(PartitionsOf(submissions)) {}

// -------------------------------------------------------------------------------------------------
// trip 1

void CommitGroup::QueueLoad(Connection& connection) const {
  connection.Queue(kBegin);
  Params lock;
  lock.AddInt2Array(partitions_);
  connection.Queue(kLockPartitions, std::move(lock));

  // A session that several commands name is loaded once.
  std::vector<const Submission*> distinct;
  std::set<absl::string_view> seen;
  for (const Submission* submission : submissions_) {
    if (seen.insert(submission->command.session_id).second) distinct.push_back(submission);
  }
  Params load;
  load.AddInt2Array(partitions_);
  Columns<const Submission*> sessions(distinct, load);
  sessions.Int2([](const Submission* s) { return s->partition; });
  sessions.Text([](const Submission* s) { return absl::string_view(s->command.session_id); });
  sessions.Int4([](const Submission*) { return 0; });
  connection.Queue(kLoadSessions, std::move(load));

  std::vector<const Submission*> all(submissions_.begin(), submissions_.end());
  Params find;
  find.AddInt2Array(partitions_);
  Columns<const Submission*> requests(all, find);
  int index = 0;
  requests.Int2([](const Submission* s) { return s->request_partition; });
  requests.Uuid([](const Submission* s) { return absl::string_view(s->request_key); });
  requests.Int4([&](const Submission*) { return index++; });
  connection.Queue(kFindRequests, std::move(find));
}

void CommitGroup::TakeLoaded(const std::vector<Result>& results) {
  const Result& locked = results[1];
  for (int row = 0; row < locked.rows(); ++row) {
    locked_positions_[locked.Int2(row, 0)] = locked.Int8(row, 1);
    now_ = locked.Timestamp(row, 2);
  }
  positions_ = locked_positions_;
  for (const Submission* submission : submissions_) {
    entries_[submission->command.session_id].partition = submission->partition;
  }
  const Result& sessions = results[2];
  for (int row = 0; row < sessions.rows(); ++row) {
    Session session;
    ReadSession(sessions, row, 1, &session);
    Entry& entry = entries_[session.session_id()];
    entry.aggregate.session = std::move(session);
  }
  const Result& requests = results[3];
  for (int row = 0; row < requests.rows(); ++row) {
    requests_[submissions_[requests.Int4(row, 0)]->request_key] = {
        std::string(requests.Text(row, 1)), std::string(requests.Text(row, 2))};
  }
}

// -------------------------------------------------------------------------------------------------
// trip 1b

bool CommitGroup::QueueMissing(Connection& connection) {
  missing_sessions_.clear();
  missing_tombstones_.clear();
  for (const Submission* submission : submissions_) {
    const auto request = requests_.find(submission->request_key);
    if (request != requests_.end()) {
      // A creation whose id was drawn: the retry has drawn another one.
      const std::string& id = request->second.session_id;
      if (!entries_.contains(id)) {
        entries_[id].partition = submission->request_partition;
        missing_sessions_.push_back(id);
      }
      // By now it may have been archived.
      if (!entries_[id].aggregate.session.has_value()) missing_tombstones_.push_back(id);
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
    if (ids.empty()) return;
    Params params;
    params.AddInt2Array(partitions_);
    Columns<std::string> columns(ids, params);
    int index = 0;
    columns.Int2([&](const std::string& id) { return entries_[id].partition; });
    columns.Text([](const std::string& id) { return absl::string_view(id); });
    columns.Int4([&](const std::string&) { return index++; });
    connection.Queue(statement, std::move(params));
  };
  queue(kLoadSessions, missing_sessions_);
  queue(kFindTombstones, missing_tombstones_);
  if (missing_workflows_) connection.Queue(kLoadWorkflows);
  return missing_workflows_ || !missing_sessions_.empty() || !missing_tombstones_.empty();
}

void CommitGroup::TakeMissing(const std::vector<Result>& results) {
  auto result = results.begin();
  if (!missing_sessions_.empty()) {
    for (int row = 0; row < result->rows(); ++row) {
      Session session;
      ReadSession(*result, row, 1, &session);
      Entry& entry = entries_[session.session_id()];
      entry.aggregate.session = std::move(session);
    }
    ++result;
  }
  if (!missing_tombstones_.empty()) {
    for (int row = 0; row < result->rows(); ++row) {
      entries_[missing_tombstones_[result->Int4(row, 0)]].aggregate.tombstone =
          Tombstone{.archive_time = result->Timestamp(row, 1)};
    }
    ++result;
  }
  if (missing_workflows_) AddWorkflows(*result, catalog_);
}

// -------------------------------------------------------------------------------------------------
// decide

bool CommitGroup::Decide() {
  for (Submission* submission : submissions_) submission->outcome = DecideOne(*submission);
  return !accepted_.empty();
}

absl::StatusOr<Outcome> CommitGroup::DecideOne(Submission& submission) {
  const auto request = requests_.find(submission.request_key);
  if (request != requests_.end()) return Repeat(submission, request->second);

  const Command& command = submission.command;
  Entry& entry = entries_[command.session_id];
  WorkflowCatalog::Entry workflow = command.workflow;
  if (!IsCreation(command) && entry.aggregate.session.has_value()) {
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
  // An earlier command of this group answers with the session as it left it, which is now.
  if (entry.last != nullptr) Present(*entry.aggregate.session, &entry.last->outcome->session);
  entry.last = &submission;
  entry.aggregate.session = std::move(decision->session);
  // The events stay where they are while the outcome moves: rows point at them.
  Outcome outcome{.events = std::move(decision->events)};
  Accept(submission, entry, outcome.events);
  return outcome;
}

// The session for a reader.
void CommitGroup::Present(Session session, Session* answer) const {
  const auto workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  if (workflow != nullptr) sessiond::Present(*workflow, now_, &session);
  *answer = std::move(session);
}

void CommitGroup::Answer(const std::vector<Result>& written) {
  if (!WroteWhatItWasTold(written)) {
    const absl::Status defect =
        Refusal(v1::CONSTRAINT_VIOLATION, "The database wrote other rows than it was told to.");
    for (Submission* submission : accepted_) submission->outcome = defect;
    return;
  }
  for (auto& [id, entry] : entries_) {
    if (entry.last != nullptr) {
      Present(*std::move(entry.aggregate.session), &entry.last->outcome->session);
    }
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
  return outcome;
}

void CommitGroup::Accept(Submission& submission, Entry& entry,
                         const std::vector<SessionEvent>& events) {
  for (const SessionEvent& event : events) {
    entry.created |= event.type() == SessionEvent::CREATED;
    entry.fields_changed |= event.type() == SessionEvent::UPDATED;
    events_.push_back({submission.partition, ++positions_[submission.partition], &event});
  }
  entry.changed = true;
  accepted_.push_back(&submission);
  requests_[submission.request_key] = {submission.fingerprint, submission.command.session_id};
}

// -------------------------------------------------------------------------------------------------
// trip 2

namespace {

using ChangedSession = std::pair<int16_t, const Session*>;

}  // namespace

void CommitGroup::QueueWrites(Connection& connection) const {
  struct Advanced {
    int16_t partition;
    int64_t events;
  };
  std::vector<Advanced> advanced;
  for (const auto& [partition, position] : positions_) {
    const int64_t events = position - locked_positions_.at(partition);
    if (events > 0) advanced.push_back({partition, events});
  }
  Params params;
  params.AddInt2Array(partitions_);
  Columns<Advanced> columns(advanced, params);
  columns.Int2([](const Advanced& row) { return row.partition; });
  columns.Int8([](const Advanced& row) { return row.events; });
  connection.Queue(kAdvancePositions, std::move(params));

  QueueCreated(connection);
  QueueUpdated(connection);
  QueueEvents(connection);
  QueueRequests(connection);
  connection.Queue(kCommit);
}

void CommitGroup::QueueCreated(Connection& connection) const {
  std::vector<ChangedSession> rows;
  for (const auto& [id, entry] : entries_) {
    if (entry.created) rows.emplace_back(entry.partition, &*entry.aggregate.session);
  }
  if (rows.empty()) return;
  Params params;
  params.AddInt2Array(partitions_);
  Columns<ChangedSession> columns(rows, params);
  using Row = const ChangedSession&;
  columns.Int2([](Row row) { return row.first; });
  columns.Text([](Row row) { return absl::string_view(row.second->session_id()); });
  columns.Text([](Row row) { return absl::string_view(row.second->namespace_()); });
  columns.Text([](Row row) { return absl::string_view(row.second->workflow()); });
  columns.Int4([](Row row) { return row.second->workflow_revision(); });
  columns.Text([](Row row) { return absl::string_view(row.second->owner_id()); });
  columns.Text([](Row row) { return absl::string_view(row.second->owner_display_name()); });
  columns.Int2([](Row row) { return row.second->state(); });
  columns.Text([](Row row) { return absl::string_view(row.second->stage()); });
  columns.Text([](Row row) { return absl::string_view(row.second->status()); });
  columns.Time(
      [](Row row) { return OptionalTime(row.second->has_fail_time(), row.second->fail_time()); });
  columns.Text([](Row row) { return absl::string_view(row.second->fail_reason()); });
  columns.Jsonb([](Row row) { return ToJson(row.second->context()); });
  columns.Jsonb([](Row row) { return ToJson(row.second->counters()); });
  columns.Jsonb([](Row row) { return ToJson(row.second->references()); });
  columns.Jsonb([](Row row) { return ToJson(row.second->labels()); });
  columns.Bool([](Row row) { return row.second->hold(); });
  columns.Time([](Row row) { return OptionalTime(true, row.second->create_time()); });
  columns.Time([](Row row) { return OptionalTime(true, row.second->update_time()); });
  columns.Time([](Row row) {
    return OptionalTime(row.second->has_complete_time(), row.second->complete_time());
  });
  columns.Time([](Row row) {
    return OptionalTime(row.second->has_delete_time(), row.second->delete_time());
  });
  columns.Time(
      [](Row row) { return OptionalTime(row.second->has_purge_time(), row.second->purge_time()); });
  columns.Time([](Row row) {
    return OptionalTime(row.second->has_recover_before_time(), row.second->recover_before_time());
  });
  columns.Int4([](Row row) { return row.second->sequence(); });
  columns.Int4([](Row row) { return row.second->revision(); });
  connection.Queue(kInsertSessions, std::move(params));
}

void CommitGroup::QueueUpdated(Connection& connection) const {
  std::vector<const Entry*> rows;
  for (const auto& [id, entry] : entries_) {
    if (entry.changed && !entry.created) rows.push_back(&entry);
  }
  if (rows.empty()) return;
  Params params;
  params.AddInt2Array(partitions_);
  Columns<const Entry*> columns(rows, params);
  const auto session = [](const Entry* entry) -> const Session& {
    return *entry->aggregate.session;
  };
  // The large columns travel only when they changed.
  const auto json = [&](auto field) {
    columns.Jsonb([&](const Entry* entry) {
      return entry->fields_changed ? std::optional<std::string>(ToJson((session(entry).*field)()))
                                   : std::nullopt;
    });
  };
  const auto text = [&](auto field) {
    columns.Text([&](const Entry* entry) { return absl::string_view((session(entry).*field)()); });
  };
  const auto time = [&](auto has, auto field) {
    columns.Time([&](const Entry* entry) {
      return OptionalTime((session(entry).*has)(), (session(entry).*field)());
    });
  };
  columns.Int2([](const Entry* entry) { return entry->partition; });
  text(&Session::session_id);
  text(&Session::owner_id);
  text(&Session::owner_display_name);
  columns.Int2([&](const Entry* entry) { return session(entry).state(); });
  text(&Session::stage);
  text(&Session::status);
  time(&Session::has_fail_time, &Session::fail_time);
  text(&Session::fail_reason);
  json(&Session::context);
  json(&Session::counters);
  json(&Session::references);
  json(&Session::labels);
  columns.Bool([&](const Entry* entry) { return session(entry).hold(); });
  time(&Session::has_update_time, &Session::update_time);
  time(&Session::has_complete_time, &Session::complete_time);
  time(&Session::has_delete_time, &Session::delete_time);
  time(&Session::has_purge_time, &Session::purge_time);
  columns.Int4([&](const Entry* entry) { return session(entry).sequence(); });
  columns.Int4([&](const Entry* entry) { return session(entry).revision(); });
  connection.Queue(kUpdateSessions, std::move(params));
}

void CommitGroup::QueueEvents(Connection& connection) const {
  Params params;
  params.AddInt2Array(partitions_);
  Columns<Event> columns(events_, params);
  columns.Int2([](const Event& row) { return row.partition; });
  columns.Int8([](const Event& row) { return row.position; });
  columns.Text([](const Event& row) { return absl::string_view(row.event->session_id()); });
  columns.Int4([](const Event& row) { return row.event->sequence(); });
  columns.Time([](const Event& row) { return OptionalTime(true, row.event->event_time()); });
  columns.Int2([](const Event& row) { return row.event->type(); });
  columns.Int2([](const Event& row) { return row.event->old_state(); });
  columns.Int2([](const Event& row) { return row.event->new_state(); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->old_stage()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->new_stage()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->old_status()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->new_status()); });
  columns.Int2([](const Event& row) { return row.event->trigger(); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->actor()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->caller()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->reason()); });
  columns.Text([](const Event& row) { return absl::string_view(row.event->request_id()); });
  columns.Jsonb([](const Event& row) { return ToJson(row.event->changes()); });
  connection.Queue(kInsertEvents, std::move(params));
}

void CommitGroup::QueueRequests(Connection& connection) const {
  Params params;
  params.AddInt2Array(partitions_);
  Columns<Submission*> columns(accepted_, params);
  columns.Int2([](const Submission* s) { return s->request_partition; });
  columns.Uuid([](const Submission* s) { return absl::string_view(s->request_key); });
  columns.Uuid([](const Submission* s) { return absl::string_view(s->fingerprint); });
  columns.Text([](const Submission* s) { return absl::string_view(s->command.session_id); });
  columns.Time([this](const Submission*) { return std::optional<absl::Time>(now_); });
  connection.Queue(kInsertRequests, std::move(params));
}

bool CommitGroup::WroteWhatItWasTold(const std::vector<Result>& results) const {
  int64_t changed = 0;
  for (const auto& [id, entry] : entries_) changed += entry.changed ? 1 : 0;
  int64_t written = 0;
  const std::size_t last = results.size() - 1;
  for (std::size_t i = 1; i < last - 2; ++i) written += results[i].affected();
  const int64_t events = results[last - 2].affected(), requests = results[last - 1].affected();
  if (written == changed && events == static_cast<int64_t>(events_.size()) &&
      requests == static_cast<int64_t>(accepted_.size()) && results[last].tag() == "COMMIT") {
    return true;
  }
  spdlog::critical(
      "a group wrote {} of {} sessions, {} of {} events, {} of {} requests and ended with {}",
      written, changed, events, events_.size(), requests, accepted_.size(),
      std::string(results[last].tag()));
  return false;
}

}  // namespace sessiond::db
