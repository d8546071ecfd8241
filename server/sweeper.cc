#include "server/sweeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "db/submit_and_wait.h"
#include "server/ops/log.h"
#include "state_machine/decide.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

// Batches per sweep; the rest is left for the next one.
constexpr int kBatchesMax = 20;

// A request by the daemon itself about a session.
template <class Request>
Command SystemCommand(const std::string& session_id, Request request) {
  Command command{.caller = "system", .session_id = session_id, .by_timeout = true};
  if constexpr (requires { request.set_session_id(session_id); })
    request.set_session_id(session_id);
  command.request_id = request.request_id();
  command.request = std::move(request);
  return command;
}

Command FailSilent(const db::SilentTask& task) {
  const std::string timeout = absl::FormatDuration(task.heartbeat_timeout);
  v1::FailTaskRequest request;
  request.set_task_id(task.task_id);
  request.set_reason(absl::StrCat("no heartbeat for ", timeout));
  (*request.mutable_failure_context()->mutable_fields())["heartbeat_timeout"].set_string_value(
      timeout);
  v1::SessionError& error = *request.mutable_error();
  error.set_category(v1::SessionError::TEMPORARY);
  error.set_severity(v1::SessionError::WARNING);
  error.set_error_code("HEARTBEAT_TIMEOUT");
  error.set_user_message(absl::StrCat("The ", task.task_type, " task was not heard of for ",
                                      timeout, ", and was given up."));
  error.add_recovery_actions("Retry the task (RetryTask).");
  return SystemCommand(task.session_id, std::move(request));
}

// Whether it was in the way of the sweeper's own work: not that somebody else was first.
bool IsTrouble(const absl::Status& outcome) {
  if (outcome.ok()) return false;
  const v1::ErrorReason why = ReasonOf(outcome);
  return why == v1::ERROR_REASON_UNSPECIFIED || CategoryOf(why) == Category::kAdminRequired ||
         why == v1::DATABASE_UNAVAILABLE;
}

// With what the database said.
std::string ToldOf(const absl::Status& trouble) {
  const std::string said = db::TroubleOf(trouble);
  return absl::StrCat(trouble.message(), said.empty() ? "" : absl::StrCat(" (", said, ")"));
}

}  // namespace

Sweeper::Sweeper(SweeperOptions options, db::SessionStore& store, Journal& journal)
    : options_(std::move(options)),
      store_(store),
      journal_(journal),
      due_({.dsn = options_.dsn, .primary = store.primary()}, stop_),
      thread_([this] { Run(); }) {}

Sweeper::~Sweeper() {
  Stop();
  thread_.join();
}

void Sweeper::Run() {
  const absl::Duration beat = std::min(options_.heartbeat_period, options_.period);
  do {
    if (const absl::Status swept = Sweep(); !swept.ok() && !stop_.HasHappened()) {
      due_.Close();
      Log(LogLevel::kWarn, "sweeper", "a sweep was cut short; the next one goes on",
          {{"status", swept.message()}});
    }
  } while (!stop_.WaitAtMost(beat));
}

// A step that fails keeps no other from its work.
absl::Status Sweeper::Sweep() {
  AnalyzeWhatGrew();
  absl::Status swept = FailSilentTasks();
  if (db::ConnectionIsGone(swept)) return swept;  // What is due is due once it is back.
  if (SteadyTime::Now() >= sweep_due_) {
    sweep_due_ = SteadyTime::Now() + options_.period;
    swept.Update(SweepOld());
  }
  if (options_.retention_period > absl::ZeroDuration() && SteadyTime::Now() >= retention_due_) {
    retention_due_ = SteadyTime::Now() + options_.retention_period;
    swept.Update(ArchiveDue());
  }
  TellTroubles();
  return swept;
}

absl::Status Sweeper::SweepOld() {
  const absl::StatusOr<absl::Time> now = due_.Now();
  if (!now.ok()) return now.status();
  store_.SawTime(*now);
  absl::Status swept = DeleteStaleCreations(*now);
  swept.Update(StopAbandoned(*now));
  swept.Update(PurgeRequests(*now));
  return swept;
}

void Sweeper::AnalyzeWhatGrew() {
  if (SteadyTime::Now() < analyze_due_) return;
  const absl::Status analyzed = due_.AnalyzeWhatGrew();
  // Of a lost connection the next step tells.
  if (analyzed.ok() || absl::IsCancelled(analyzed) || db::ConnectionIsGone(analyzed)) return;
  analyze_due_ = SteadyTime::Now() + options_.period;
  Log(LogLevel::kWarn, "sweeper", "tables that have grown could not be analyzed; lists may be slow",
      {{"status", analyzed.message()}});
}

int Sweeper::Carry(std::vector<Command> commands) {
  int effects = 0;
  for (const auto& outcome : db::SubmitAllAndWait(store_, std::move(commands))) {
    if (IsTrouble(outcome.status())) {
      if (troubles_++ == 0) first_trouble_ = outcome.status();
    }
    // Refused, or without an effect: another daemon, or a caller, was first.
    if (!outcome.ok() || outcome->events.empty()) continue;
    journal_.Changed(*outcome);
    ++effects;
  }
  return effects;
}

void Sweeper::TellTroubles() {
  if (troubles_ == 0 || stop_.HasHappened() || SteadyTime::Now() < tell_due_) return;
  tell_due_ = SteadyTime::Now() + options_.period;
  Log(LogLevel::kWarn, "sweeper", "some of what is due could not be done; it is tried again",
      {{"times", std::exchange(troubles_, 0)}, {"first", ToldOf(first_trouble_)}});
}

absl::Status Sweeper::FailSilentTasks() {
  const auto silent = due_.FindSilentTasks();
  if (!silent.ok()) return silent.status();
  std::vector<Command> commands;
  for (const db::SilentTask& task : *silent) commands.push_back(FailSilent(task));
  Carry(std::move(commands));
  return absl::OkStatus();
}

absl::Status Sweeper::DeleteStaleCreations(absl::Time now) {
  const auto found = due_.FindStaleCreations(now - options_.creating_max);
  if (!found.ok()) return found.status();
  std::vector<Command> commands;
  for (const auto& [session_id, revision] : *found) {
    v1::DeleteSessionRequest request;
    request.set_reason("left in CREATING for too long");
    // If it has changed since, it must not be deleted.
    request.set_etag(EtagOf(revision));
    request.set_request_id(absl::StrCat("stale-creation-", session_id));
    commands.push_back(SystemCommand(session_id, std::move(request)));
  }
  Carry(std::move(commands));
  return absl::OkStatus();
}

absl::Status Sweeper::StopAbandoned(absl::Time now) {
  for (const WorkflowCatalog::Entry& workflow : store_.catalog().List(/*all_revisions=*/true)) {
    const absl::Duration age = workflow->recovery_window() + workflow->abandon_after();
    if (age == absl::InfiniteDuration()) continue;
    const auto found =
        due_.FindAbandonedSessions(workflow->name(), workflow->revision(), now - age);
    if (!found.ok()) return found.status();
    std::vector<Command> commands;
    for (const auto& [session_id, revision] : *found) {
      v1::StopSessionRequest request;
      request.set_reason("abandoned: its recovery window is long over");
      request.set_etag(EtagOf(revision));
      commands.push_back(SystemCommand(session_id, std::move(request)));
    }
    Carry(std::move(commands));
  }
  return absl::OkStatus();
}

absl::Status Sweeper::PurgeRequests(absl::Time now) {
  for (int batch = 0; batch < kBatchesMax; ++batch) {
    const auto purged = due_.PurgeRequests(now - options_.requests_kept);
    if (!purged.ok()) return purged.status();
    if (*purged == 0) break;
  }
  return absl::OkStatus();
}

absl::Status Sweeper::ArchiveDue() {
  int archived = 0;
  absl::Status found;
  for (int batch = 0; batch < kBatchesMax && !stop_.HasHappened(); ++batch) {
    // What could not be archived does not stand before the rest: it is found again once the end was
    // reached.
    const auto due = due_.FindDueSessions(&due_position_);
    found = due.status();
    if (due.ok() && due->empty()) due_position_ = {};
    if (!due.ok() || due->empty()) break;
    std::vector<Command> commands;
    for (const std::string& session_id : *due)
      commands.push_back(SystemCommand(session_id, v1::PurgeSessionsRequest()));
    archived += Carry(std::move(commands));
  }
  if (archived > 0) journal_.Purged(archived, 0);
  return found;
}

}  // namespace sessiond
