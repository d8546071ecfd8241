#include "tests/simulation/history.h"

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "state_machine/evolve.h"
#include "state_machine/preconditions.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::simulation {
namespace {

constexpr int64_t kForEver = std::numeric_limits<int64_t>::max();

bool IsCreation(const v1::SessionEvent& event) { return event.type() == v1::SessionEvent::CREATED; }

// The caller does not know what became of it.
bool LeavesDoubt(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kCancelled ||
         CategoryOf(ReasonOf(status)) == Category::kTemporary;
}

std::string Named(const Attempt& attempt) {
  return absl::StrCat(std::visit([](const auto& request) { return request.GetTypeName(); },
                                 attempt.command.request),
                      " ", attempt.command.request_id, " of session ", attempt.command.session_id);
}

std::string Told(const absl::StatusOr<db::Outcome>& outcome) {
  if (!outcome.ok()) {
    return absl::StrCat(v1::ErrorReason_Name(ReasonOf(outcome.status())), ": ",
                        std::string(outcome.status().message()));
  }
  return absl::StrCat(outcome->events.size(), " events, session at ", outcome->session.sequence());
}

}  // namespace

std::string Bytes(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string Standing(v1::Session session) {
  session.clear_stage_display_name();
  session.clear_next_stage();
  session.clear_recoverable();
  session.clear_etag();
  if (session.has_current_task()) {
    session.mutable_current_task()->clear_duration();
    session.mutable_current_task()->clear_retryable();
    session.mutable_current_task()->clear_heartbeat_time();
  }
  return Bytes(session);
}

History::History(Scheduler& scheduler, const ModelDatabase& database,
                 const WorkflowCatalog& catalog, int partition_count)
    : scheduler_(scheduler), database_(database), catalog_(catalog), log_(partition_count) {}

std::vector<Version>& History::VersionsOf(const std::string& session_id) {
  std::vector<Version>& versions = versions_[session_id];
  if (versions.empty()) versions.push_back({.until = kForEver});
  return versions;
}

const Aggregate& History::Now(const std::string& session_id) {
  return VersionsOf(session_id).back().aggregate;
}

void History::OnCalled(const Attempt& attempt) {
  attempts_[attempt.request_key].push_back(&attempt);
  if (std::holds_alternative<v1::EraseOwnerRequest>(attempt.command.request))
    erasures_[attempt.command.session_id].push_back(&attempt);
}

absl::StatusOr<Decision> History::DecideOn(const Aggregate& aggregate, const Command& command,
                                           absl::Time now) const {
  WorkflowCatalog::Entry workflow = command.workflow;
  if (workflow == nullptr && aggregate.session.has_value()) {
    workflow = catalog_.Find(aggregate.session->workflow(), aggregate.session->workflow_revision());
  }
  if (workflow == nullptr) {
    auto exists = CheckExists(command.session_id, aggregate, command.scope, true);
    return exists.ok() ? absl::InternalError("no workflow") : exists;
  }
  return Decide(*workflow, aggregate, command, now);
}

// -------------------------------------------------------------------------------------------------
// commits

void History::OnCommit(const Writes& writes, ModelDatabase& database) {
  ++commits;
  std::vector<const Writes::Event*> command;
  std::set<std::string> touched;
  const auto same = [](const v1::SessionEvent& a, const v1::SessionEvent& b) {
    return a.session_id() == b.session_id() && a.caller() == b.caller() &&
           a.request_id() == b.request_id();
  };
  for (const Writes::Event& event : writes.events) {
    if (!command.empty() && !same(command.back()->event, event.event)) {
      TakeCommand(command, writes);
      command.clear();
    }
    command.push_back(&event);
    touched.insert(event.event.session_id());
  }
  if (!command.empty()) TakeCommand(command, writes);
  for (const v1::SessionTask& task : writes.tasks) touched.insert(task.session_id());
  for (const Writes::Session& row : writes.updated) touched.insert(row.session.session_id());
  for (const std::string& session_id : touched) CheckStored(session_id, database);
}

// Whether the decision is what was written; if not, what it is instead.
bool IsWritten(const absl::StatusOr<Decision>& decision,
               const std::vector<const Writes::Event*>& written, std::string* instead) {
  if (!decision.ok()) {
    *instead = std::string(decision.status().message());
    return false;
  }
  *instead = absl::StrCat(decision->events.size(), " events");
  if (decision->events.size() != written.size()) return false;
  for (std::size_t i = 0; i < written.size(); ++i) {
    if (Bytes(decision->events[i]) == Bytes(written[i]->event)) continue;
    *instead = decision->events[i].ShortDebugString();
    return false;
  }
  return true;
}

// The events of one command.
void History::TakeCommand(const std::vector<const Writes::Event*>& written, const Writes& writes) {
  const v1::SessionEvent& first = written.front()->event;
  const std::string& id = first.session_id();
  const std::string wanted =
      RequestKeyOf(first.caller(), IsCreation(first) ? "" : id, first.request_id());
  // An erasure leaves no request id.
  const auto& attempts = first.request_id().empty() ? erasures_[id] : attempts_[wanted];
  const auto row = std::find_if(writes.requests.begin(), writes.requests.end(),
                                [&](const auto& request) { return request.key == wanted; });
  const absl::Time now = writes.now;
  std::vector<Version>& versions = VersionsOf(id);
  std::string instead = "no such command was sent";
  for (const Attempt* attempt : attempts) {
    const Command& command = attempt->command;
    const std::string& key = attempt->request_key;
    if (command.session_id != id) continue;
    // Another request with the same id may come to the same.
    if (row != writes.requests.end() && row->fingerprint != attempt->fingerprint) continue;
    Aggregate aggregate = versions.back().aggregate;
    absl::StatusOr<Decision> decision = DecideOn(aggregate, command, now);
    bool equal = IsWritten(decision, written, &instead);
    for (const auto& heartbeat : versions.back().heartbeats) {
      if (equal) break;
      *aggregate.session->mutable_current_task()->mutable_heartbeat_time() = heartbeat;
      decision = DecideOn(aggregate, command, now);
      equal = IsWritten(decision, written, &instead);
    }
    if (!equal) continue;

    Effect effect{.session_id = id,
                  .fingerprint = attempt->fingerprint,
                  .step = scheduler_.step(),
                  .time = database_.Now()};
    for (const v1::SessionEvent& event : decision->events) effect.events.push_back(Bytes(event));
    for (const auto& error : decision->errors) effect.errors.push_back(error.error_id());
    for (const auto& artifact : decision->artifacts)
      effect.artifacts.push_back(artifact.artifact_id());
    if (!decision->messages.empty()) {
      effect.first_sequence = decision->messages.front().message.sequence();
      effect.last_sequence = decision->messages.back().message.sequence();
    }
    effect.task_id = decision->session.current_task().task_id();
    if (decision->end == Decision::End::kNone) effect.session = Standing(decision->session);

    if (const auto before = effects_.find(key); before != effects_.end()) {
      // Requests about a session that has ended are forgotten, and all after a day.
      const bool forgotten = Now(before->second.session_id).tombstone.has_value() ||
                             database_.Now() - before->second.time > absl::Hours(23);
      if (!forgotten) {
        return scheduler_.Fail(
            absl::StrCat(Named(*attempt), " takes effect twice: ", first.ShortDebugString()));
      }
    }
    // Whose erasure it was, nobody can say: they are equal.
    if (first.request_id().empty()) {
      for (const Attempt* other : attempts) effects_[other->request_key] = effect;
    }
    effects_[key] = std::move(effect);

    AddRecords(written, aggregate.session, *decision);
    Apply(*decision, &aggregate);
    const int64_t step = scheduler_.step();
    versions.back().until = step;
    versions.push_back({std::move(aggregate), step, kForEver, {}});
    return;
  }
  scheduler_.Fail(absl::StrCat("committed on something else than what is stored: ",
                               written.front()->event.ShortDebugString(), " at position ",
                               written.front()->position,
                               "; on what is stored it would be: ", instead));
}

void History::AddRecords(const std::vector<const Writes::Event*>& written,
                         std::optional<v1::Session> before, const Decision& decision) {
  watch::SessionPtr at =
      before.has_value() ? std::make_shared<v1::Session>(*std::move(before)) : nullptr;
  for (std::size_t i = 0; i < written.size(); ++i) {
    const Writes::Event& row = *written[i];
    ++events;
    auto record = std::make_unique<Record>();
    watch::Change& change = record->change;
    change.partition = row.partition;
    change.position = row.position;
    change.event = row.event;
    change.before = at;
    if (!IsEnd(row.event)) {
      auto after =
          at == nullptr ? std::make_shared<v1::Session>() : std::make_shared<v1::Session>(*at);
      if (i + 1 == written.size()) {
        *after = decision.session;
      } else {
        Evolve(row.event, after.get());
      }
      change.after = after;
    } else {
      for (auto& [place, where] : places_) {
        if (place.first == row.event.session_id())
          log_[where.first][where.second - 1]->removed = true;
      }
    }
    at = change.after;
    auto& log = log_[row.partition];
    if (row.position != static_cast<int64_t>(log.size()) + 1) {
      return scheduler_.Fail(absl::StrCat("position ", row.position, " of partition ",
                                          row.partition, " follows ", log.size()));
    }
    places_[{row.event.session_id(), row.event.sequence()}] = {row.partition, row.position};
    log.push_back(std::move(record));

    v1::Session& replayed = replayed_[row.event.session_id()];
    const v1::SessionEvent& event = row.event;
    if (event.sequence() != replayed.sequence() + 1)
      return scheduler_.Fail(absl::StrCat("a gap before ", event.ShortDebugString()));
    if (replayed.sequence() > 0 &&
        FromProto(event.event_time()) < FromProto(replayed.update_time())) {
      return scheduler_.Fail(
          absl::StrCat("dated before the event before it: ", event.ShortDebugString()));
    }
    Evolve(event, &replayed);
  }
}

void History::CheckStored(const std::string& id, ModelDatabase& database) {
  const Aggregate& aggregate = Now(id);
  const bool there = database.Find(id) != nullptr;
  if (there != aggregate.session.has_value()) {
    return scheduler_.Fail(absl::StrCat("session ", id, there ? " is there" : " is not there"));
  }
  if (!there) return;
  const v1::Session stored = database.Whole(id);
  const auto differs = [&](const char* from, const v1::Session& other) {
    scheduler_.Fail(absl::StrCat("session ", id, " is not what ", from, ": ",
                                 stored.ShortDebugString(), "\ninstead of ",
                                 other.ShortDebugString()));
  };
  if (Standing(stored) != Standing(*aggregate.session)) differs("was decided", *aggregate.session);
  if (Standing(stored) != Standing(replayed_[id])) differs("its events say", replayed_[id]);
  const auto equal = [](const auto& a, const auto& b) {
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [](const auto& one, const auto& other) {
             return one.first == other.first && Bytes(one.second) == Bytes(other.second);
           });
  };
  if (!equal(database.ErrorsOf(id), aggregate.errors))
    scheduler_.Fail(absl::StrCat("the errors of session ", id, " are others"));
  if (!equal(database.ArtifactsOf(id), aggregate.artifacts))
    scheduler_.Fail(absl::StrCat("the artifacts of session ", id, " are others"));
  if (database.MessagesOf(id) != static_cast<std::size_t>(stored.message_count()))
    scheduler_.Fail(absl::StrCat("the messages of session ", id, " are others"));
  if (database.BlockingErrorsOf(id) != aggregate.blocking.count)
    scheduler_.Fail(absl::StrCat("the blocking errors of session ", id, " are others"));
  if (stored.current_task().has_heartbeat_time()) {
    Version& version = VersionsOf(id).back();
    auto* heartbeat = version.aggregate.session->mutable_current_task()->mutable_heartbeat_time();
    version.heartbeats.push_back(*heartbeat);
    *heartbeat = stored.current_task().heartbeat_time();
  }
}

// -------------------------------------------------------------------------------------------------
// answers

void History::OnAnswer(const Attempt& attempt) {
  const auto effect = effects_.find(attempt.request_key);
  if (!attempt.outcome.ok()) {
    if (LeavesDoubt(attempt.outcome.status())) {
      ++unknown;
      return;
    }
    ++refusals;
    return CheckNothingOrRefused(attempt);
  }
  ++acknowledged;
  const db::Outcome& outcome = *attempt.outcome;
  if (!outcome.events.empty()) {
    if (effect == effects_.end())
      return scheduler_.Fail(absl::StrCat("acknowledged and not there: ", Named(attempt)));
    return CheckDone(attempt, outcome, effect->second);
  }
  if (effect != effects_.end() && effect->second.fingerprint == attempt.fingerprint) {
    ++repetitions;
    return CheckRepeated(attempt, outcome, effect->second);
  }
  CheckNothingOrRefused(attempt);
}

void History::CheckDone(const Attempt& attempt, const db::Outcome& outcome, Effect& effect) {
  std::vector<std::string> events;
  for (const v1::SessionEvent& event : outcome.events) events.push_back(Bytes(event));
  if (events != effect.events) {
    return scheduler_.Fail(absl::StrCat("answered with other events than it has: ", Named(attempt),
                                        ": ", outcome.events.front().ShortDebugString()));
  }
  if (!effect.session.empty() && Standing(outcome.session) != effect.session) {
    return scheduler_.Fail(absl::StrCat("answered with another session than it left: ",
                                        Named(attempt), ": ", outcome.session.ShortDebugString()));
  }
  if (effect.step > attempt.answered)
    scheduler_.Fail(absl::StrCat("answered before it was done: ", Named(attempt)));
  effect.acknowledged = true;
}

void History::CheckRepeated(const Attempt& attempt, const db::Outcome& outcome,
                            const Effect& effect) {
  const auto wrong = [&](const char* what) {
    scheduler_.Fail(absl::StrCat("a repetition is answered with ", what, ": ", Named(attempt), ": ",
                                 outcome.session.ShortDebugString()));
  };
  if (outcome.session.session_id() != effect.session_id) return wrong("another session");
  if (outcome.first_sequence != effect.first_sequence ||
      outcome.last_sequence != effect.last_sequence) {
    return wrong("other messages");
  }
  for (const auto& error : outcome.errors) {
    if (std::find(effect.errors.begin(), effect.errors.end(), error.error_id()) ==
        effect.errors.end()) {
      return wrong("other errors");
    }
  }
  for (const auto& artifact : outcome.artifacts) {
    if (std::find(effect.artifacts.begin(), effect.artifacts.end(), artifact.artifact_id()) ==
        effect.artifacts.end()) {
      return wrong("other artifacts");
    }
  }
  const std::string session = Standing(outcome.session);
  for (const Version& version : VersionsOf(effect.session_id)) {
    const bool meanwhile = version.from <= attempt.answered && version.until >= attempt.called;
    if (meanwhile && version.from >= effect.step && version.aggregate.session.has_value() &&
        Standing(*version.aggregate.session) == session) {
      return;
    }
  }
  wrong("a state that was not between call and answer");
}

// A command that changed nothing leaves no trace, and was known to its group all the same.
bool History::MayBeReused(const Attempt& attempt) const {
  const std::vector<const Attempt*>& all = attempts_.at(attempt.request_key);
  return std::any_of(all.begin(), all.end(), [&](const Attempt* other) {
    return other->fingerprint != attempt.fingerprint && other->called <= attempt.answered;
  });
}

// Some state between call and answer says the same.
void History::CheckNothingOrRefused(const Attempt& attempt) {
  const auto& outcome = attempt.outcome;
  const auto found = effects_.find(attempt.request_key);
  const Effect* effect = found == effects_.end() ? nullptr : &found->second;
  if (!outcome.ok() && ReasonOf(outcome.status()) == v1::REQUEST_ID_REUSED &&
      MayBeReused(attempt)) {
    return;
  }
  if (!outcome.ok() && effect != nullptr && effect->step <= attempt.answered) {
    const v1::ErrorReason reason = ReasonOf(outcome.status());
    if (reason == v1::STALE_TASK || Now(effect->session_id).tombstone.has_value()) return;
  }
  // A creation that draws its id is about no session yet.
  std::string instead;
  for (const Version& version : VersionsOf(attempt.command.session_id)) {
    if (version.from > attempt.answered || version.until < attempt.called) continue;
    // Another request of its id may have taken effect right behind it, in the same commit.
    const bool other = effect != nullptr && effect->fingerprint != attempt.fingerprint;
    if (effect != nullptr && version.from >= effect->step + (other ? 1 : 0)) continue;
    for (const absl::Time now : {database_.Now(), attempt.called_at}) {
      const absl::StatusOr<Decision> decision = DecideOn(version.aggregate, attempt.command, now);
      if (!outcome.ok()) {
        if (!decision.ok() && ReasonOf(decision.status()) == ReasonOf(outcome.status())) return;
      } else if (decision.ok() && decision->events.empty() &&
                 Standing(outcome->session) == Standing(decision->session)) {
        return;
      }
      absl::StrAppend(&instead, "\n  ",
                      decision.ok() ? absl::StrCat(decision->events.size(), " events")
                                    : std::string(decision.status().message()));
    }
  }
  scheduler_.Fail(absl::StrCat("no state between call and answer says so: ", Named(attempt), ": ",
                               Told(outcome), "\ninstead:", instead));
}

void History::CheckEnd(ModelDatabase& database) {
  for (auto& [id, versions] : versions_) CheckStored(id, database);
  for (std::size_t p = 0; p < log_.size(); ++p) {
    if (static_cast<int64_t>(log_[p].size()) != database.positions()[p])
      scheduler_.Fail(absl::StrCat("partition ", p, " is elsewhere than its events"));
  }
}

std::optional<std::pair<int16_t, int64_t>> History::Find(const std::string& session_id,
                                                         int32_t sequence) const {
  const auto found = places_.find({session_id, sequence});
  if (found == places_.end()) return std::nullopt;
  return found->second;
}

bool History::WasOnce(const v1::Session& session) const {
  const auto versions = versions_.find(session.session_id());
  if (versions == versions_.end()) return false;
  const std::string standing = Standing(session);
  return std::any_of(versions->second.begin(), versions->second.end(), [&](const Version& one) {
    return one.aggregate.session.has_value() &&
           one.aggregate.session->sequence() == session.sequence() &&
           Standing(*one.aggregate.session) == standing;
  });
}

}  // namespace sessiond::simulation
