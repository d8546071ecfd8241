#include "db/lane.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "db/sql_error.h"
#include "db/statements.h"
#include "server/state_machine/refusal.h"

namespace sessiond::db {
namespace {

// PostgreSQL restarts in about half a second: for this long a lane holds on to a group whose
// connection was lost.
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr absl::Duration kReconnectPause = absl::Milliseconds(50);
constexpr absl::Duration kConnectTimeout = absl::Seconds(2);

// Races that PostgreSQL decides by rolling one side back (class 40) are run again this often.
constexpr int kRacesMax = 5;

bool ConnectionIsGone(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return absl::StartsWith(sqlstate, "08") || absl::StartsWith(sqlstate, "57P") ||
         sqlstate == "25P03" || sqlstate == "25006";
}

// Seen while a group read without locks, before anything was begun.
absl::Status Moved() { return absl::AbortedError("somebody else has moved a partition"); }

// What a group meets that goes without locks and is not alone: a position that has moved, a request
// that was carried out.
bool IsConflict(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return absl::IsAborted(status) || sqlstate == "23502" || sqlstate == "23505";
}

bool RaceWasLost(const absl::Status& status) { return absl::StartsWith(SqlStateOf(status), "40"); }

}  // namespace

Lane::Lane(LaneOptions options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : options_(std::move(options)),
      catalog_(catalog),
      clock_(clock),
      inbox_(options_.inbox),
      memory_(options_.kept_bytes_max),
      thread_([this] { Run(); }) {}

Lane::~Lane() { Drain(); }

absl::Status Lane::Submit(Submission* submission) {
  const std::size_t bytes = std::visit([](const auto& request) { return request.ByteSizeLong(); },
                                       submission->command.request);
  switch (inbox_.Push(submission, bytes)) {
    case Inbox<Submission*>::Pushed::kYes:
      return absl::OkStatus();
    case Inbox<Submission*>::Pushed::kFull:
      return Refusal(v1::OVERLOADED,
                     "More changes are waiting than the daemon takes on. Wait, then retry.")
          .RetryAfter(absl::Milliseconds(500));
    case Inbox<Submission*>::Pushed::kClosed:
      break;
  }
  return Refusal(v1::DRAINING,
                 "This daemon is going down. Retry at another one, with the same request_id.")
      .RetryAfter(absl::Milliseconds(500));
}

void Lane::Drain() {
  inbox_.Close();
  if (thread_.joinable()) thread_.join();
}

void Lane::Run() {
  if (auto connected = Connect(); !connected.ok()) {
    spdlog::warn("lane: {}", std::string(connected.message()));
  }
  std::vector<Submission*> group;
  while (inbox_.Take(&group)) {
    AnswerExpired(&group, [](Submission* late, absl::Status why) { late->outcome = why; });
    Settle(group);
    for (Submission* submission : group) submission->Done();
  }
}

// Afterwards every outcome of the group is final.
void Lane::Settle(Group group) {
  if (group.empty()) return;
  absl::Status status;
  const SteadyTime give_up = SteadyTime::Now() + kPatience;
  for (int races = 0;;) {
    const SteadyTime begin = SteadyTime::Now();
    GroupReport report{.commands = group.size()};
    status = CommitOnce(group, &report);
    report.duration = SteadyTime::Now() - begin;
    report.committed = status.ok();
    options_.on_group(report);
    if (status.ok()) return;
    if (RaceWasLost(status) && ++races < kRacesMax) continue;
    // Whether it committed is unknown, or known not to be: either way it is run again, and the
    // request rows tell.
    if (ConnectionIsGone(status) && SteadyTime::Now() < give_up &&
        lost_since_ > SteadyTime::Now() - kPatience) {
      absl::SleepFor(kReconnectPause);
      continue;
    }
    break;
  }
  if (RaceWasLost(status)) {
    return AnswerAll(
        group, Refusal(v1::CONFLICT,
                       "A race was lost five times in a row. Retry with the same request_id."));
  }
  const bool someone_is_to_blame = CategoryOf(ReasonOf(status)) == Category::kAdminRequired;
  if (group.size() == 1 || !someone_is_to_blame) {
    if (absl::StartsWith(SqlStateOf(status), "23"))
      spdlog::error("lane: a command was refused with sqlstate {}", SqlStateOf(status));
    return AnswerAll(group, status);
  }
  Settle(group.first(group.size() / 2));
  Settle(group.subspan(group.size() / 2));
}

void Lane::AnswerAll(Group group, const absl::Status& status) {
  for (Submission* submission : group) submission->outcome = status;
}

absl::Status Lane::Connect() {
  if (connection_ != nullptr && connection_->alive()) return absl::OkStatus();
  ConnectionOptions options = LaneConnection(options_.settings, "sessiond lane");
  options.expects_conflicts = true;
  auto connection = Connection::Open(options, SteadyTime::Now() + kConnectTimeout);
  if (!connection.ok()) {
    if (lost_since_ == SteadyTime::InfiniteFuture()) lost_since_ = SteadyTime::Now();
    return connection.status();
  }
  if (lost_since_ != SteadyTime::InfiniteFuture())
    spdlog::info("lane: connected to the database again");
  lost_since_ = SteadyTime::InfiniteFuture();
  connection_ = *std::move(connection);
  // What was on the wire may have been committed, or not; and the database may be another one.
  memory_.Clear();
  clock_.Forget();
  return absl::OkStatus();
}

absl::Status Lane::CommitOnce(Group submissions, GroupReport* report) {
  const bool listening = options_.listener != nullptr && options_.listener->listening;
  absl::Status status;
  for (const Way way : {Way::kOptimistic, Way::kUnlocked, Way::kLocked}) {
    // Only a lock ends a race for certain.
    if (report->conflict && way != Way::kLocked) continue;
    if (auto connected = Connect(); !connected.ok()) return connected;
    CommitGroup group(submissions, catalog_, memory_, clock_, way, listening);
    if (!group.Prepare()) continue;
    report->way = way;
    const absl::StatusOr<bool> done = LoadAndWrite(group, report);
    if (done.ok() && !*done) continue;
    status = done.status();
    if (!status.ok()) RollBack(status);
    if (way == Way::kLocked || !IsConflict(status)) break;
    report->conflict = true;
  }
  return status;
}

void Lane::RollBack(const absl::Status& status) {
  if (ConnectionIsGone(status)) {
    if (lost_since_ == SteadyTime::InfiniteFuture()) {
      lost_since_ = SteadyTime::Now();
      spdlog::warn("lane: the connection to the database is lost (sqlstate {})",
                   SqlStateOf(status));
    }
    connection_.reset();
    return;
  }
  if (absl::IsAborted(status)) return;  // Nothing was begun.
  // The sync ended the skipping, not the transaction.
  connection_->Queue(kRollback);
  if (!connection_->Trip(SteadyTime::Now() + options_.settings.statement_timeout).ok())
    connection_.reset();
}

// Each trip waits for at most one lock and some statements; the margin lets PostgreSQL's own
// timeouts answer first.
absl::StatusOr<std::vector<Result>> Lane::Trip() {
  return connection_->Trip(SteadyTime::Now() + options_.settings.lock_timeout +
                           2 * options_.settings.statement_timeout);
}

// False: by this way the group is not to be decided.
absl::StatusOr<bool> Lane::LoadAndWrite(CommitGroup& group, GroupReport* report) {
  report->loaded = group.QueueLoad(*connection_);
  if (report->loaded) {
    const auto loaded = Trip();
    if (!loaded.ok()) return loaded.status();
    if (!group.TakeLoaded(*loaded)) return Moved();
  }
  if (group.QueueMissing(*connection_)) {
    const auto missing = Trip();
    if (!missing.ok()) return missing.status();
    if (!group.TakeMissing(*missing)) return Moved();
  }

  const Decided decided = group.Decide();
  if (decided == Decided::kUnsure) return false;
  if (decided == Decided::kNothingToWrite) {
    if (group.way() != Way::kLocked) return true;
    connection_->Queue(kRollback);
    if (const auto rolled_back = Trip(); !rolled_back.ok()) return rolled_back.status();
    return true;
  }

  group.QueueWrites(*connection_);
  const auto written = Trip();
  if (!written.ok()) {
    if (ConnectionIsGone(written.status())) group.LeaveInDoubt();
    return written.status();
  }
  group.Answer(*written);
  if (auto committed = group.TakeCommitted(); !committed.empty())
    options_.listener->on_committed(std::move(committed));
  return true;
}

}  // namespace sessiond::db
