#include "server/sweeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/blocking.h"
#include "db/sql/statements.h"
#include "server/ops/log.h"
#include "state_machine/decide.h"

namespace sessiond {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(10);

// Batches of a sweep; what is left over is for the next one.
constexpr int kBatchesMax = 20;

db::Params TimeParam(absl::Time time) {
  db::Params params;
  params.AddTimestamp(time);
  return params;
}

// The daemon's own request about a session.
template <class Request>
Command SystemCommand(const std::string& session_id, Request request) {
  Command command{.caller = "system", .session_id = session_id, .by_timeout = true};
  if constexpr (requires { request.set_session_id(session_id); })
    request.set_session_id(session_id);
  command.request_id = request.request_id();
  command.request = std::move(request);
  return command;
}

Command FailSilent(const db::Result& silent, int row) {
  const std::string type(silent.Text(row, 2));
  const std::string timeout =
      absl::FormatDuration(absl::Milliseconds(static_cast<double>(silent.Int8(row, 3))));
  v1::FailTaskRequest request;
  request.set_task_id(std::string(silent.Text(row, 1)));
  request.set_reason(absl::StrCat("no heartbeat for ", timeout));
  (*request.mutable_failure_context()->mutable_fields())["heartbeat_timeout"].set_string_value(
      timeout);
  v1::SessionError& error = *request.mutable_error();
  error.set_category(v1::SessionError::TEMPORARY);
  error.set_severity(v1::SessionError::WARNING);
  error.set_error_code("HEARTBEAT_TIMEOUT");
  error.set_user_message(
      absl::StrCat("The ", type, " task was not heard of for ", timeout, ", and was given up."));
  error.add_recovery_actions("Retry the task (RetryTask).");
  return SystemCommand(std::string(silent.Text(row, 0)), std::move(request));
}

}  // namespace

Sweeper::Sweeper(SweeperOptions options, db::SessionStore& store, Journal& journal)
    : options_(std::move(options)),
      store_(store),
      journal_(journal),
      link_({.connection = db::LaneConnection(options_.settings, "sessiond sweeper"),
             .primary = store.primary()}),
      thread_([this] { Run(); }) {}

Sweeper::~Sweeper() {
  Stop();
  thread_.join();
}

void Sweeper::Run() {
  const absl::Duration beat = std::min(options_.heartbeat_period, options_.period);
  do {
    if (const absl::Status swept = Sweep(); !swept.ok() && !stop_.HasHappened()) {
      link_.Close();
      Log(LogLevel::kWarn, "sweeper", "a sweep was cut short; the next one goes on",
          {{"status", swept.message()}});
    }
  } while (!stop_.WaitAtMost(beat));
}

absl::Status Sweeper::Sweep() {
  if (auto connected = link_.Connect(); !connected.ok()) return connected;
  if (auto analyzed = AnalyzeWhatGrew(); !analyzed.ok()) return analyzed;
  if (auto failed = FailSilentTasks(); !failed.ok()) return failed;
  if (SteadyTime::Now() >= sweep_due_) {
    sweep_due_ = SteadyTime::Now() + options_.period;
    const auto identity = Ask(db::kLoadIdentity);
    if (!identity.ok()) return identity.status();
    const absl::Time now = identity->Timestamp(0, 2);
    store_.SawTime(now);
    if (auto deleted = DeleteStaleCreations(now); !deleted.ok()) return deleted;
    if (auto stopped = StopAbandoned(now); !stopped.ok()) return stopped;
    if (auto purged = PurgeRequests(now); !purged.ok()) return purged;
  }
  if (options_.retention_period > absl::ZeroDuration() && SteadyTime::Now() >= retention_due_) {
    retention_due_ = SteadyTime::Now() + options_.retention_period;
    return ArchiveDue();
  }
  return absl::OkStatus();
}

absl::StatusOr<db::Result> Sweeper::Ask(const db::Statement& statement, db::Params params) {
  if (stop_.HasHappened()) return absl::CancelledError("asked to stop");
  link_->Queue(statement, std::move(params));
  auto results = link_.Trip(SteadyTime::Now() + kTimeout);
  if (!results.ok()) return results.status();
  return std::move(results->front());
}

int Sweeper::Carry(std::vector<Command> commands) {
  int effects = 0;
  for (const auto& outcome : db::SubmitAllAndWait(store_, std::move(commands))) {
    // Refused, or without an effect: another daemon, or a caller, was first.
    if (!outcome.ok() || outcome->events.empty()) continue;
    journal_.Changed(*outcome);
    ++effects;
  }
  return effects;
}

absl::Status Sweeper::AnalyzeWhatGrew() {
  const auto grown = Ask(db::kFindGrownTables);
  if (!grown.ok()) return grown.status();
  if (grown->IsNull(0, 0)) return absl::OkStatus();
  return link_->Execute(absl::StrCat("ANALYZE ", std::string(grown->Text(0, 0))),
                        SteadyTime::Now() + kTimeout);
}

absl::Status Sweeper::FailSilentTasks() {
  const auto silent = Ask(db::kFindSilentTasks);
  if (!silent.ok()) return silent.status();
  std::vector<Command> commands;
  for (int row = 0; row < silent->rows(); ++row) commands.push_back(FailSilent(*silent, row));
  Carry(std::move(commands));
  return absl::OkStatus();
}

absl::Status Sweeper::DeleteStaleCreations(absl::Time now) {
  const auto found = Ask(db::kFindStaleCreations, TimeParam(now - options_.creating_max));
  if (!found.ok()) return found.status();
  std::vector<Command> commands;
  for (int row = 0; row < found->rows(); ++row) {
    const std::string session_id(found->Text(row, 0));
    v1::DeleteSessionRequest request;
    request.set_reason("left in CREATING for too long");
    // Whatever became of it meanwhile is none of ours.
    request.set_etag(absl::StrCat("r", found->Int4(row, 1)));
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
    db::Params params;
    params.AddText(workflow->name());
    params.AddInt4(workflow->revision());
    params.AddTimestamp(now - age);
    const auto found = Ask(db::kFindAbandonedSessions, std::move(params));
    if (!found.ok()) return found.status();
    std::vector<Command> commands;
    for (int row = 0; row < found->rows(); ++row) {
      v1::StopSessionRequest request;
      request.set_reason("abandoned: its recovery window is long over");
      request.set_etag(absl::StrCat("r", found->Int4(row, 1)));
      commands.push_back(SystemCommand(std::string(found->Text(row, 0)), std::move(request)));
    }
    Carry(std::move(commands));
  }
  return absl::OkStatus();
}

absl::Status Sweeper::PurgeRequests(absl::Time now) {
  for (int batch = 0; batch < kBatchesMax; ++batch) {
    const auto purged = Ask(db::kPurgeRequests, TimeParam(now - options_.requests_kept));
    if (!purged.ok()) return purged.status();
    if (purged->affected() == 0) break;
  }
  return absl::OkStatus();
}

absl::Status Sweeper::ArchiveDue() {
  int archived = 0;
  for (int batch = 0; batch < kBatchesMax && !stop_.HasHappened(); ++batch) {
    const auto due = Ask(db::kFindDueSessions);
    if (!due.ok()) return due.status();
    if (due->rows() == 0) break;
    std::vector<Command> commands;
    for (int row = 0; row < due->rows(); ++row) {
      commands.push_back(SystemCommand(std::string(due->Text(row, 0)), v1::PurgeSessionsRequest()));
    }
    archived += Carry(std::move(commands));
  }
  if (archived > 0) journal_.Purged(archived, 0);
  return absl::OkStatus();
}

}  // namespace sessiond
