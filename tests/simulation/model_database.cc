#include "tests/simulation/model_database.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "db/base/sha256.h"
#include "db/connection/sql_error.h"
#include "state_machine/evolve.h"
#include "state_machine/timestamps.h"

namespace sessiond::simulation {
namespace {

// How long a statement of a lane waits for a lock, and how long a transaction may be idle.
constexpr absl::Duration kLockMoment = absl::Milliseconds(50);
constexpr absl::Duration kIdleMax = absl::Seconds(5);
constexpr absl::Duration kRequestsKept = absl::Hours(24);

// The year does not matter.
const absl::Time kBegin = absl::FromUnixSeconds(1'767'225'600);

std::string LockOf(int16_t partition) { return absl::StrCat("partition ", partition); }
std::string LockOf(const std::string& session_id) { return absl::StrCat("session ", session_id); }

bool ChangesBlocking(const v1::SessionEvent& event) {
  return event.changes().fields().contains("has_blocking_errors");
}

}  // namespace

std::string DigestOf(const std::vector<std::string>& parts) {
  std::string bytes;
  for (const std::string& part : parts) absl::StrAppend(&bytes, part.size(), ":", part);
  return db::Sha256(bytes).substr(0, 16);
}

std::string RequestKeyOf(const std::string& caller, const std::string& scope,
                         const std::string& request_id) {
  return DigestOf({caller, scope, request_id});
}

Writes::Writes(const db::GroupRows& rows)
    : partitions(rows.partitions),
      begin(rows.begin),
      now(rows.now),
      advanced(rows.advanced),
      deleted_artifacts(),
      ended(rows.ended) {
  const auto add = [](const std::vector<db::SessionRow>& from, std::vector<Session>* to) {
    for (const db::SessionRow& row : from) {
      to->push_back({row.partition, *row.session, row.blocking_errors, row.fields_changed,
                     row.counters_changed, row.references_changed});
    }
  };
  add(rows.created, &created);
  add(rows.updated, &updated);
  for (const db::EventRow& row : rows.events)
    events.push_back({row.partition, row.position, *row.event, *row.before});
  for (const auto& row : rows.tasks) tasks.push_back(*row.row);
  for (const auto& row : rows.recorded) recorded.push_back(*row.row);
  for (const auto& row : rows.resolved) resolved.push_back(*row.row);
  for (const auto& row : rows.messages) messages.push_back(*row.row);
  for (const auto& row : rows.artifacts) artifacts.push_back(*row.row);
  for (const auto& row : rows.deleted_artifacts)
    deleted_artifacts.emplace_back(row.session_id, row.id);
  for (const db::RequestRow& row : rows.requests) {
    requests.push_back({row.partition, std::string(row.request_key), std::string(row.fingerprint),
                        std::string(row.session_id), row.answer});
  }
}

ModelDatabase::ModelDatabase(Scheduler& scheduler, int partition_count,
                             std::function<void(const Writes&)> on_commit)
    : scheduler_(scheduler),
      on_commit_(std::move(on_commit)),
      positions_(partition_count),
      purged_(partition_count) {}

// -------------------------------------------------------------------------------------------------
// the server

absl::Time ModelDatabase::Now() const {
  const absl::Time now = kBegin + absl::Nanoseconds(scheduler_.now()) + clock_off_;
  return absl::FromUnixMicros(absl::ToUnixMicros(now));
}

void ModelDatabase::Crash() {
  up_ = false;
  for (const BackendPtr& backend : backends_) {
    if (backend->alive) End(*backend);
  }
  backends_.clear();
}

ModelDatabase::BackendPtr ModelDatabase::Connect() {
  std::erase_if(backends_, [](const BackendPtr& one) { return !one->alive; });
  backends_.push_back(std::make_shared<Backend>());
  return backends_.back();
}

void ModelDatabase::End(Backend& backend) {
  Release(backend);
  backend.alive = false;
}

absl::Status ModelDatabase::Gone() const { return db::ConnectionLost("cut"); }

// -------------------------------------------------------------------------------------------------
// locks

void ModelDatabase::Release(Backend& backend) {
  for (const std::string& name : backend.locks) locks_[name].holder = nullptr;
  for (auto& [name, lock] : locks_) std::erase(lock.queue, &backend);
  backend.locks.clear();
  backend.in_transaction = backend.failed = false;
}

bool ModelDatabase::TryLock(Backend& backend, const std::string& name) {
  Lock& lock = locks_[name];
  if (lock.holder == &backend) return true;
  if (lock.holder != nullptr || !lock.queue.empty()) return false;
  lock.holder = &backend;
  backend.locks.insert(name);
  return true;
}

// Whoever it waits for, and whom that one waits for.
void ModelDatabase::CheckDeadlock(const Backend& backend) {
  const Backend* at = &backend;
  for (int i = 0; i < 100 && !at->waits_for.empty(); ++i) {
    at = locks_[at->waits_for].holder;
    if (at == nullptr) return;
    if (at == &backend) {
      return scheduler_.Fail(absl::StrCat("deadlock: a transaction that waits for ",
                                          backend.waits_for, " is waited for by its holder"));
    }
  }
}

absl::Status ModelDatabase::Acquire(Backend& backend, const std::string& name, Instant until) {
  if (TryLock(backend, name)) return absl::OkStatus();
  Lock& lock = locks_[name];
  lock.queue.push_back(&backend);
  backend.waits_for = name;
  CheckDeadlock(backend);
  const bool mine = scheduler_.Await(
      [&] { return !backend.alive || (lock.holder == nullptr && lock.queue.front() == &backend); },
      until);
  backend.waits_for.clear();
  std::erase(lock.queue, &backend);
  if (!backend.alive) return Gone();
  if (!mine) return Fails(backend, "55P03");
  lock.holder = &backend;
  backend.locks.insert(name);
  return absl::OkStatus();
}

absl::Status ModelDatabase::Fails(Backend& backend, absl::string_view sqlstate) {
  backend.failed = true;
  return db::SqlError(sqlstate, "model", "model", /*expected=*/true);
}

absl::Status ModelDatabase::Moment(Backend& backend, absl::Duration most) {
  scheduler_.Sleep(scheduler_.random().Between(absl::Microseconds(10), most));
  return backend.alive ? absl::OkStatus() : Gone();
}

// What was idle for too long was ended.
absl::Status ModelDatabase::Begun(Backend& backend) {
  if (!backend.alive || !up_) return Gone();
  const absl::Duration idle = absl::Nanoseconds(scheduler_.now() - backend.idle_since);
  if (backend.in_transaction && idle > kIdleMax) {
    End(backend);
    return db::ConnectionLost("idle", "25P03");
  }
  return absl::OkStatus();
}

bool ModelDatabase::LockSession(Backend& backend, const std::string& session_id) {
  return sessions_.contains(session_id) && TryLock(backend, LockOf(session_id));
}

bool ModelDatabase::LockPartition(Backend& backend, int16_t partition) {
  return TryLock(backend, LockOf(partition));
}

db::FoundLocked ModelDatabase::FindLocked(const std::vector<int16_t>& partitions,
                                          const std::vector<std::string>& sessions) {
  const auto held = [this](const std::string& name) {
    const auto found = locks_.find(name);
    return found != locks_.end() && found->second.holder != nullptr;
  };
  db::FoundLocked locked;
  for (const int16_t partition : partitions) {
    if (held(LockOf(partition))) locked.partitions.insert(partition);
  }
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    if (held(LockOf(sessions[i]))) locked.sessions.insert(static_cast<int32_t>(i));
  }
  return locked;
}

// -------------------------------------------------------------------------------------------------
// looking up

absl::StatusOr<db::GroupFinds> ModelDatabase::LookUp(Backend& backend,
                                                     const db::GroupLookups& lookups) {
  if (auto begun = Begun(backend); !begun.ok()) return begun;
  db::GroupFinds finds;
  const auto read_positions = [&](const std::vector<int16_t>& partitions) {
    for (const int16_t partition : partitions)
      finds.positions.push_back({partition, positions_[partition]});
    finds.now = Now();
  };
  if (lookups.lock) {
    backend.in_transaction = true;
    const Instant until = scheduler_.now() + absl::ToInt64Nanoseconds(kLockMoment);
    for (const int16_t partition : lookups.partitions) {
      if (auto got = Acquire(backend, LockOf(partition), until); !got.ok()) return got;
    }
    read_positions(lookups.partitions);
  }
  // Each statement sees what is committed when it runs.
  const auto next = [&] { return Moment(backend, absl::Milliseconds(1)); };
  if (auto ok = next(); !ok.ok()) return ok;
  for (const db::SessionKey& key : lookups.sessions) {
    const std::string id(key.id);
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || found->second.partition != key.partition) continue;
    db::GroupFinds::LoadedSession loaded{Whole(id), {.count = found->second.blocking_errors}};
    std::vector<std::tuple<absl::Time, std::string>> blocking;
    for (const auto& [error_id, error] : errors_[id]) {
      if (error.severity() == v1::SessionError::BLOCKING && !error.has_resolve_time())
        blocking.emplace_back(FromProto(error.create_time()), error_id);
    }
    std::sort(blocking.begin(), blocking.end());
    for (const auto& [time, error_id] : blocking) {
      if (loaded.blocking.ids.size() < kBlockingErrorIdsMax)
        loaded.blocking.ids.push_back(error_id);
    }
    finds.sessions.push_back(std::move(loaded));
  }
  if (auto ok = next(); !ok.ok()) return ok;
  for (const db::SessionKey& key : lookups.tombstones) {
    const auto found = tombstones_.find(std::string(key.id));
    if (found != tombstones_.end()) finds.tombstones.push_back({found->first, found->second.first});
  }
  if (auto ok = next(); !ok.ok()) return ok;
  for (const auto& key : lookups.requests) {
    const auto found = requests_.find({key.partition, std::string(key.key)});
    if (found == requests_.end()) continue;
    const Request& request = found->second;
    finds.requests.push_back({key.ix, request.fingerprint, request.session_id, request.answer});
  }
  for (const db::SessionKey& key : lookups.events) {
    for (const Event& stored : EventsOf(std::string(key.id))) {
      const v1::SessionEvent& event = stored.event;
      if (event.sequence() != key.sequence) continue;
      finds.events.push_back({key.ix, event.sequence(), FromProto(event.event_time()),
                              event.caller(), event.request_id()});
    }
  }
  if (auto ok = next(); !ok.ok()) return ok;
  for (const db::NamedKey& key : lookups.errors) {
    const auto& errors = errors_[key.session_id];
    if (const auto found = errors.find(key.id); found != errors.end())
      finds.errors.push_back(found->second);
  }
  for (const db::NamedKey& key : lookups.artifacts) {
    const auto& artifacts = artifacts_[key.session_id];
    if (const auto found = artifacts.find(key.id); found != artifacts.end())
      finds.artifacts.push_back(found->second);
  }
  for (const db::NamedKey& key : lookups.message_ids) {
    for (const auto& [sequence, message] : messages_[key.session_id]) {
      if (message.id_brought && message.message.message_id() == key.id)
        finds.used_ids.push_back({key.session_id, key.id});
    }
  }
  for (const db::NamedKey& key : lookups.task_ids) {
    for (const Event& stored : EventsOf(key.session_id)) {
      const auto& changes = stored.event.changes().fields();
      const auto task = changes.find("current_task");
      if (task == changes.end()) continue;
      const auto& fields = task->second.struct_value().fields();
      const auto task_id = fields.find("task_id");
      if (task_id != fields.end() && task_id->second.string_value() == key.id)
        finds.used_ids.push_back({key.session_id, key.id});
    }
  }
  if (!lookups.positions.empty()) {
    if (auto ok = next(); !ok.ok()) return ok;
    read_positions(lookups.positions);
  }
  if (lookups.workflows) scheduler_.Fail("every daemon knows every workflow");
  backend.idle_since = scheduler_.now();
  return finds;
}

absl::Status ModelDatabase::EndTransaction(Backend& backend) {
  if (auto begun = Begun(backend); !begun.ok()) return begun;
  Release(backend);
  return absl::OkStatus();
}

// -------------------------------------------------------------------------------------------------
// writing

absl::StatusOr<db::Written> ModelDatabase::Write(Backend& backend, const Writes& writes) {
  if (auto begun = Begun(backend); !begun.ok()) return begun;
  if (writes.begin) {
    if (backend.in_transaction) scheduler_.Fail("BEGIN within a transaction");
    backend.in_transaction = true;
  } else if (!backend.in_transaction) {
    scheduler_.Fail("a transaction goes on that was not begun");
  }
  const Instant until = scheduler_.now() + absl::ToInt64Nanoseconds(kLockMoment);
  if (writes.begin && writes.partitions.size() > 1) {
    for (const int16_t partition : writes.partitions) {
      if (auto got = Acquire(backend, LockOf(partition), until); !got.ok()) return got;
      if (auto ok = Moment(backend, absl::Microseconds(100)); !ok.ok()) return ok;
    }
  }
  // advance_positions.sql: the time is its beginning, before it waits for a lock.
  const absl::Time time = Now();
  for (const db::AdvancedRow& row : writes.advanced) {
    if (auto got = Acquire(backend, LockOf(row.partition), until); !got.ok()) return got;
  }
  for (const db::AdvancedRow& row : writes.advanced) {
    const bool late = row.until.has_value() && time >= *row.until;
    if (positions_[row.partition] != row.position || late) return Fails(backend, "23502");
  }
  if (auto ok = CheckRows(backend, writes); !ok.ok()) return ok;
  // The disk.
  if (auto ok = Moment(backend, absl::Milliseconds(3)); !ok.ok()) return ok;
  Commit(writes);
  Release(backend);
  backend.idle_since = scheduler_.now();
  return db::Written{.time = time};
}

// The constraints, and the rows' locks.
absl::Status ModelDatabase::CheckRows(Backend& backend, const Writes& writes) {
  const Instant until = scheduler_.now() + absl::ToInt64Nanoseconds(kLockMoment);
  const auto lock = [&](const std::string& session_id) {
    return Acquire(backend, LockOf(session_id), until);
  };
  for (const Writes::Session& row : writes.updated) {
    if (auto got = lock(row.session.session_id()); !got.ok()) return got;
  }
  for (const v1::SessionTask& task : writes.tasks) {
    if (auto got = lock(task.session_id()); !got.ok()) return got;
  }
  for (const db::EndedSession& row : writes.ended) {
    if (auto got = lock(row.session.session_id()); !got.ok()) return got;
  }
  for (const Writes::Session& row : writes.created) {
    const std::string& id = row.session.session_id();
    if (sessions_.contains(id)) return Fails(backend, "23505");
  }
  for (const Writes::Request& row : writes.requests) {
    if (requests_.contains({row.partition, row.key})) return Fails(backend, "23505");
  }
  for (const Writes::Event& row : writes.events) {
    if (places_.contains({row.partition, row.position})) return Fails(backend, "23505");
    for (const Event& stored : EventsOf(row.event.session_id())) {
      if (stored.event.sequence() == row.event.sequence()) return Fails(backend, "23505");
    }
  }
  for (const auto& partition : writes.partitions) {
    if (writes.partitions.size() > 1 && locks_[LockOf(partition)].holder != &backend)
      scheduler_.Fail(absl::StrCat("writes without the lock of partition ", partition));
  }
  return absl::OkStatus();
}

void ModelDatabase::Commit(const Writes& writes) {
  std::map<int16_t, int64_t> expected;
  for (const db::AdvancedRow& row : writes.advanced) expected[row.partition] = row.events;
  for (const Writes::Event& row : writes.events) {
    --expected[row.partition];
    if (row.position <= positions_[row.partition])
      scheduler_.Fail(absl::StrCat("an event at position ", row.position, ", which has passed"));
  }
  for (const auto& [partition, missing] : expected) {
    if (missing != 0) {
      scheduler_.Fail(absl::StrCat("partition ", partition, " moves on by ", missing,
                                   " more than it has new events"));
    }
  }
  for (const db::AdvancedRow& row : writes.advanced) positions_[row.partition] += row.events;
  for (const Writes::Session& row : writes.created) {
    Row& stored = sessions_[row.session.session_id()];
    stored = {row.partition, row.session, row.blocking_errors};
    stored.session.clear_current_task();
  }
  for (const Writes::Session& row : writes.updated) {
    const auto found = sessions_.find(row.session.session_id());
    if (found == sessions_.end()) {
      scheduler_.Fail("a session is updated that is not there");
      return;
    }
    v1::Session session = row.session;
    const v1::Session& old = found->second.session;
    if (!row.fields_changed) {
      *session.mutable_context() = old.context();
      *session.mutable_labels() = old.labels();
    }
    if (!row.counters_changed) *session.mutable_counters() = old.counters();
    if (!row.references_changed) *session.mutable_references() = old.references();
    session.clear_current_task();
    found->second.session = std::move(session);
    found->second.blocking_errors = row.blocking_errors;
  }
  for (const v1::SessionTask& task : writes.tasks) {
    v1::SessionTask& stored = tasks_[task.session_id()];
    const bool same = stored.task_id() == task.task_id() && stored.has_heartbeat_time();
    const auto heartbeat = stored.heartbeat_time();
    stored = task;
    if (same &&
        (!task.has_heartbeat_time() || FromProto(heartbeat) > FromProto(task.heartbeat_time()))) {
      *stored.mutable_heartbeat_time() = heartbeat;
    }
  }
  for (const auto& [session_id, artifact_id] : writes.deleted_artifacts) {
    if (artifacts_[session_id].erase(artifact_id) == 0)
      scheduler_.Fail("an artifact is deleted that is not there");
    for (auto& [id, error] : errors_[session_id]) {
      if (error.related_file_id() == artifact_id) error.clear_related_file_id();
      if (error.related_ticket_id() == artifact_id) error.clear_related_ticket_id();
    }
  }
  for (const v1::SessionArtifact& artifact : writes.artifacts) {
    if (!artifacts_[artifact.session_id()].emplace(artifact.artifact_id(), artifact).second)
      scheduler_.Fail("an artifact is added twice");
  }
  for (const v1::SessionError& error : writes.recorded) {
    if (!errors_[error.session_id()].emplace(error.error_id(), error).second)
      scheduler_.Fail("an error is recorded twice");
  }
  for (const v1::SessionError& error : writes.resolved) {
    auto& errors = errors_[error.session_id()];
    const auto found = errors.find(error.error_id());
    if (found == errors.end()) {
      scheduler_.Fail("an error is resolved that is not there");
      return;
    }
    found->second = error;
  }
  for (const NewMessage& message : writes.messages) {
    auto& messages = messages_[message.message.session_id()];
    if (!messages.emplace(message.message.sequence(), message).second)
      scheduler_.Fail("two messages of one sequence");
  }
  for (const Writes::Event& row : writes.events) {
    events_[row.event.session_id()].push_back({row.partition, row.position, row.event, row.before});
    places_[{row.partition, row.position}] = row.event.session_id();
  }
  for (const db::EndedSession& ended : writes.ended) Remove(ended);
  for (const Writes::Request& row : writes.requests) {
    requests_[{row.partition, row.key}] = {row.fingerprint, row.session_id, row.answer, writes.now};
  }
  on_commit_(writes);
}

void ModelDatabase::Remove(const db::EndedSession& ended) {
  const std::string& id = ended.session.session_id();
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) {
    scheduler_.Fail("a session ends that is not there");
    return;
  }
  v1::Session left;
  left.set_namespace_(ended.session.namespace_());
  left.set_workflow(ended.session.workflow());
  if (!ended.erased) left.set_owner_id(ended.session.owner_id());
  *left.mutable_create_time() = ended.session.create_time();
  tombstones_[id] = {{.archive_time = FromProto(ended.session.update_time()),
                      .namespace_name = left.namespace_(),
                      .owner_id = left.owner_id()},
                     left};
  auto& events = events_[id];
  for (const Event& stored : events) {
    const v1::SessionEvent& event = stored.event;
    const bool creation = event.type() == v1::SessionEvent::CREATED;
    const std::string key = RequestKeyOf(event.caller(), creation ? "" : id, event.request_id());
    for (std::size_t p = 0; p < positions_.size(); ++p) {
      if (creation || static_cast<int16_t>(p) == stored.partition)
        requests_.erase({static_cast<int16_t>(p), key});
    }
  }
  std::erase_if(events, [&](const Event& stored) {
    if (stored.event.sequence() >= ended.session.sequence()) return false;
    int64_t& purged = purged_[stored.partition];
    purged = std::max(purged, stored.position);
    places_.erase({stored.partition, stored.position});
    return true;
  });
  tasks_.erase(id);
  errors_.erase(id);
  messages_.erase(id);
  artifacts_.erase(id);
  sessions_.erase(found);
}

void ModelDatabase::RemoveOldRequests() {
  std::erase_if(requests_, [this](const auto& request) {
    return request.second.created < Now() - kRequestsKept;
  });
}

// -------------------------------------------------------------------------------------------------
// what watches read

const std::vector<ModelDatabase::Event>& ModelDatabase::EventsOf(
    const std::string& session_id) const {
  static const auto& none = *new std::vector<Event>();
  const auto found = events_.find(session_id);
  return found == events_.end() ? none : found->second;
}

// find_stored_events.sql and, for `later`, find_later_events.sql.
db::StoredStep ModelDatabase::StepOf(const Event& at, bool later) const {
  db::StoredStep step{.event = at.event, .before = at.before};
  const v1::SessionEvent& event = at.event;
  for (const Event& other : EventsOf(event.session_id())) {
    if (!later && other.event.sequence() == event.sequence() - 1)
      step.previous_time = FromProto(other.event.event_time());
    const bool marks = (event.type() == v1::SessionEvent::RECOVERED &&
                        other.event.type() == v1::SessionEvent::FAILED) ||
                       (event.type() == v1::SessionEvent::UNDELETED &&
                        other.event.type() == v1::SessionEvent::DELETED);
    if (marks && other.event.sequence() < event.sequence())
      step.marked_time = FromProto(other.event.event_time());
  }
  if (!later) return step;
  step.event.clear_changes();
  if (event.type() != v1::SessionEvent::RECOVERED && !ChangesBlocking(event)) return step;
  for (const char* key : {"fail_time", "has_blocking_errors"}) {
    const auto& changes = event.changes().fields();
    if (const auto found = changes.find(key); found != changes.end())
      (*step.event.mutable_changes()->mutable_fields())[key] = found->second;
  }
  return step;
}

db::StoredEvents ModelDatabase::Events(const std::vector<db::PositionRange>& ranges) const {
  db::StoredEvents stored{.ranges = ranges, .partitions = Partitions()};
  for (const db::PositionRange& range : ranges) {
    for (auto place = places_.upper_bound({range.partition, range.after});
         place != places_.end() && place->first <= std::pair(range.partition, range.upto);
         ++place) {
      const std::string& id = place->second;
      for (const Event& event : EventsOf(id)) {
        if (event.position == place->first.second)
          stored.events.push_back({range.partition, event.position, StepOf(event, false)});
      }
      if (sessions_.contains(id) && !stored.sessions.contains(id))
        stored.sessions[id] = std::make_shared<v1::Session>(Whole(id));
    }
  }
  return stored;
}

bool ModelDatabase::AddRest(db::StoredEvents* stored, db::Rewinding rewinding) const {
  for (const db::StoredEvent& event : stored->events) {
    const int64_t purged = purged_[event.partition];
    if (purged > stored->partitions.purged[event.partition] && purged > event.position)
      return false;
  }
  std::set<std::string> seen;
  for (auto each = stored->events.rbegin(); each != stored->events.rend(); ++each) {
    const v1::SessionEvent& event = each->step.event;
    const std::string& id = event.session_id();
    if (event.type() == v1::SessionEvent::MESSAGES_APPENDED) {
      const auto number = [&](const char* name) {
        return static_cast<int32_t>(event.changes().fields().at(name).number_value());
      };
      if (const auto messages = messages_.find(id); messages != messages_.end()) {
        for (int32_t n = number("first_sequence"); n <= number("last_sequence"); ++n) {
          if (const auto found = messages->second.find(n); found != messages->second.end())
            each->messages.push_back(found->second.message);
        }
      }
    }
    if (!seen.insert(id).second) continue;
    const auto session = stored->sessions.find(id);
    if (session == stored->sessions.end()) {
      if (const auto found = tombstones_.find(id); found != tombstones_.end())
        stored->tombstones[id] = found->second.second;
      continue;
    }
    for (const Event& later : EventsOf(id)) {
      const v1::SessionEvent& next = later.event;
      if (next.sequence() <= event.sequence() || next.sequence() > session->second->sequence())
        continue;
      using E = v1::SessionEvent;
      static const auto& kept =
          *new std::set<int>{E::UPDATED,           E::COMPLETED,         E::FAILED,
                             E::RECOVERED,         E::DELETED,           E::UNDELETED,
                             E::MESSAGES_APPENDED, E::REFERENCE_DETACHED};
      const bool wanted =
          rewinding == db::Rewinding::kAll
              ? kept.contains(next.type()) || ChangesBlocking(next)
              : next.type() == E::UPDATED && next.old_state() == v1::Session::CREATING;
      if (wanted) stored->later[id].push_back(StepOf(later, true));
    }
  }
  return true;
}

std::vector<v1::Session> ModelDatabase::Sessions() const {
  std::vector<v1::Session> sessions;
  for (const auto& [id, row] : sessions_) sessions.push_back(Whole(id));
  std::sort(sessions.begin(), sessions.end(), [](const v1::Session& a, const v1::Session& b) {
    return std::pair(FromProto(a.create_time()), a.session_id()) <
           std::pair(FromProto(b.create_time()), b.session_id());
  });
  return sessions;
}

std::vector<v1::Session> ModelDatabase::Sessions(const std::vector<std::string>& ids) const {
  std::vector<v1::Session> sessions;
  for (const std::string& id : ids) {
    if (sessions_.contains(id)) sessions.push_back(Whole(id));
  }
  return sessions;
}

// -------------------------------------------------------------------------------------------------
// for checks

const v1::Session* ModelDatabase::Find(const std::string& session_id) const {
  const auto found = sessions_.find(session_id);
  return found == sessions_.end() ? nullptr : &found->second.session;
}

v1::Session ModelDatabase::Whole(const std::string& session_id) const {
  const Row& row = sessions_.at(session_id);
  v1::Session session = row.session;
  session.set_has_blocking_errors(row.blocking_errors > 0);
  if (const auto task = tasks_.find(session_id); task != tasks_.end())
    *session.mutable_current_task() = task->second;
  return session;
}

const std::map<std::string, v1::SessionError>& ModelDatabase::ErrorsOf(
    const std::string& session_id) {
  return errors_[session_id];
}

const std::map<std::string, v1::SessionArtifact>& ModelDatabase::ArtifactsOf(
    const std::string& session_id) {
  return artifacts_[session_id];
}

int ModelDatabase::BlockingErrorsOf(const std::string& session_id) const {
  return sessions_.at(session_id).blocking_errors;
}

int16_t ModelDatabase::PartitionOf(const std::string& session_id) const {
  return sessions_.at(session_id).partition;
}

}  // namespace sessiond::simulation
