#include "db/write/committer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// PostgreSQL restarts in about half a second: for this long a lane holds on to a group whose
// connection was lost.
constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr absl::Duration kReconnectPause = absl::Milliseconds(50);

// Races that PostgreSQL decides by rolling one side back (class 40) are run again this often.
constexpr int kRacesMax = 5;

LinkOptions LinkOf(const CommitterOptions& options) {
  LinkOptions link{.connection = LaneConnection(options.settings, options.application_name),
                   .primary = options.settings.primary};
  link.connection.expects_conflicts = true;
  // The last one counts. Who only reads waits for all of it.
  const absl::Duration moment =
      std::min(options.settings.lock_moment, options.settings.lock_timeout);
  link.connection.settings.emplace_back("lock_timeout",
                                        absl::StrCat(absl::ToInt64Milliseconds(moment)));
  return link;
}

// Seen while a group read without locks, before anything was begun.
absl::Status Moved() { return absl::AbortedError("somebody else has moved a partition"); }

// What a group meets that goes without locks and is not alone: a position that has moved, a request
// that was carried out.
bool IsConflict(const absl::Status& status) {
  const std::string sqlstate = SqlStateOf(status);
  return absl::IsAborted(status) || sqlstate == "23502" || sqlstate == "23505";
}

bool SomebodyKeptALock(const absl::Status& status) { return SqlStateOf(status) == "55P03"; }

bool RaceWasLost(const absl::Status& status) { return absl::StartsWith(SqlStateOf(status), "40"); }

}  // namespace

Committer::Committer(CommitterOptions options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : options_(std::move(options)),
      catalog_(catalog),
      clock_(clock),
      link_(LinkOf(options_)),
      memory_(options_.kept_bytes_max) {}

std::vector<Blocked> Committer::Settle(Group group) {
  if (group.empty()) return {};
  absl::Status status;
  const SteadyTime give_up = SteadyTime::Now() + kPatience;
  bool waited = false;
  for (int races = 0;;) {
    const SteadyTime begin = SteadyTime::Now();
    GroupReport report{.commands = group.size()};
    status = CommitOnce(group, &report);
    report.duration = SteadyTime::Now() - begin;
    report.committed = status.ok();
    report.status = status;
    options_.on_group(report);
    if (status.ok()) return {};
    if (RaceWasLost(status) && ++races < kRacesMax) continue;
    // Whether it committed is unknown, or known not to be: either way it is run again, and the
    // request rows tell.
    if (ConnectionIsGone(status) && SteadyTime::Now() < give_up &&
        link_.lost_since() > SteadyTime::Now() - kPatience) {
      absl::SleepFor(kReconnectPause);
      continue;
    }
    if (!SomebodyKeptALock(status)) break;
    const auto found = FindBlocked(group);
    if (found.ok() && !found->empty()) return SettleTheRest(group, *found);
    // By now the lock may be gone, or the connection. Else it is one of another kind.
    if (!SomebodyKeptALock(found.status()) && !std::exchange(waited, true)) continue;
    std::vector<Blocked> all;
    for (Submission* submission : group) all.push_back({submission, Blocked::By::kSomethingElse});
    return all;
  }
  if (RaceWasLost(status)) {
    AnswerAll(group,
              Refusal(v1::CONFLICT,
                      "A race was lost five times in a row. Retry with the same request_id."));
    return {};
  }
  const bool someone_is_to_blame = CategoryOf(ReasonOf(status)) == Category::kAdminRequired;
  if (group.size() == 1 || !someone_is_to_blame) {
    if (absl::StartsWith(SqlStateOf(status), "23"))
      spdlog::error("lane: a command was refused with sqlstate {}", SqlStateOf(status));
    AnswerAll(group, status);
    return {};
  }
  std::vector<Blocked> blocked = Settle(group.first(group.size() / 2));
  // What comes behind a blocked one of its session stays behind it.
  absl::flat_hash_map<absl::string_view, Blocked> ahead;
  for (const Blocked& one : blocked) ahead.try_emplace(one.submission->command.session_id, one);
  std::vector<Submission*> rest;
  for (Submission* submission : group.subspan(group.size() / 2)) {
    const auto before = ahead.find(submission->command.session_id);
    if (before == ahead.end()) {
      rest.push_back(submission);
    } else {
      blocked.push_back(before->second);
      blocked.back().submission = submission;
    }
  }
  for (const Blocked& one : Settle(rest)) blocked.push_back(one);
  return blocked;
}

// `blocked`, in the order of the group, are not of the rest.
std::vector<Blocked> Committer::SettleTheRest(Group group, std::vector<Blocked> blocked) {
  std::vector<Submission*> rest;
  auto next = blocked.begin();
  for (Submission* submission : group) {
    if (next != blocked.end() && next->submission == submission) {
      ++next;
    } else {
      rest.push_back(submission);
    }
  }
  for (const Blocked& one : Settle(rest)) blocked.push_back(one);
  return blocked;
}

absl::StatusOr<std::vector<Blocked>> Committer::FindBlocked(Group group) {
  if (auto connected = Connect(); !connected.ok()) return connected;
  std::vector<SessionKey> sessions;
  // Each once.
  absl::flat_hash_map<absl::string_view, int32_t> index;
  for (const Submission* submission : group) {
    const auto ix = static_cast<int32_t>(sessions.size());
    if (index.try_emplace(submission->command.session_id, ix).second)
      sessions.push_back({submission->partition, submission->command.session_id, ix});
  }
  const std::vector<int16_t> partitions = PartitionsOf(group);
  Params of_partitions;
  of_partitions.AddInt2Array(partitions);
  // What is free is locked to see it. Rolled back, for a commit would keep it until the disk has
  // it.
  link_->Queue(kBegin);
  link_->Queue(kFindLockedPartitions, std::move(of_partitions));
  link_->Queue(kFindLockedSessions, SetParams(partitions, sessions, WriteSessionKey));
  link_->Queue(kRollback);
  const auto found = Trip();
  if (!found.ok()) {
    RollBack(found.status());
    return found.status();
  }
  absl::flat_hash_set<int16_t> locked_partitions;
  for (int row = 0; row < (*found)[1].rows(); ++row)
    locked_partitions.insert((*found)[1].Int2(row, 0));
  absl::flat_hash_set<int32_t> locked_sessions;
  for (int row = 0; row < (*found)[2].rows(); ++row)
    locked_sessions.insert((*found)[2].Int4(row, 0));
  std::vector<Blocked> blocked;
  // What comes behind a blocked one of its session is blocked like that.
  absl::flat_hash_map<absl::string_view, Blocked> first;
  for (Submission* submission : group) {
    const std::string& id = submission->command.session_id;
    if (const auto before = first.find(id); before != first.end()) {
      blocked.push_back(before->second);
      blocked.back().submission = submission;
      continue;
    }
    if (locked_sessions.contains(index.at(id))) {
      blocked.push_back({submission, Blocked::By::kSession});
    } else if (locked_partitions.contains(submission->partition)) {
      blocked.push_back({submission, Blocked::By::kPartition, submission->partition});
    } else if (locked_partitions.contains(submission->request_partition)) {
      blocked.push_back({submission, Blocked::By::kPartition, submission->request_partition});
    } else {
      continue;
    }
    first.emplace(id, blocked.back());
  }
  return blocked;
}

void Committer::AnswerAll(Group group, const absl::Status& status) {
  for (Submission* submission : group) submission->outcome = status;
}

absl::Status Committer::Connect() {
  const int openings = link_.openings();
  if (auto connected = link_.Connect(); !connected.ok()) return connected;
  if (link_.openings() == openings) return absl::OkStatus();
  timeout_queued_ = false;
  // What was on the wire may have been committed, or not; and the database may be another one.
  memory_.Clear();
  clock_.Forget();
  return absl::OkStatus();
}

absl::Status Committer::CommitOnce(Group submissions, GroupReport* report) {
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

void Committer::RollBack(const absl::Status& status) {
  // Its memory goes with it.
  if (ConnectionIsGone(status)) return link_.Close();
  if (absl::IsAborted(status)) return;  // Nothing was begun.
  // The sync ended the skipping, not the transaction.
  link_->Queue(kRollback);
  if (!link_.Trip(SteadyTime::Now() + options_.settings.statement_timeout).ok()) link_.Close();
}

// Each trip waits for at most one lock and some statements; the margin lets PostgreSQL's own
// timeouts answer first.
absl::StatusOr<std::vector<Result>> Committer::Trip() {
  auto results = link_.Trip(SteadyTime::Now() + options_.settings.lock_timeout +
                            2 * options_.settings.statement_timeout);
  if (std::exchange(timeout_queued_, false) && results.ok()) results->erase(results->begin());
  return results;
}

// Nothing runs on for callers who have gone: where the last of them goes before the database itself
// would end a statement, it is told.
void Committer::QueueTimeout(const CommitGroup& group) {
  const absl::Duration left = group.last_deadline() - SteadyTime::Now();
  if (timeout_queued_ || left >= options_.settings.statement_timeout) return;
  Params timeout;
  timeout.AddText(absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(left))));
  link_->Queue(kLimitStatements, std::move(timeout));
  timeout_queued_ = true;
}

// False: by this way the group is not to be decided.
absl::StatusOr<bool> Committer::LoadAndWrite(CommitGroup& group, GroupReport* report) {
  QueueTimeout(group);
  report->loaded = group.QueueLoad(*link_);
  if (report->loaded) {
    const auto loaded = Trip();
    if (!loaded.ok()) return loaded.status();
    if (!group.TakeLoaded(*loaded)) return Moved();
  }
  if (group.QueueMissing(*link_)) {
    const auto missing = Trip();
    if (!missing.ok()) return missing.status();
    if (!group.TakeMissing(*missing)) return Moved();
  }

  const Decided decided = group.Decide();
  if (decided == Decided::kUnsure) return false;
  if (decided == Decided::kNothingToWrite) {
    if (group.way() != Way::kLocked) return true;
    // Nobody may be told that something was done before which is not yet everywhere that it has to
    // be: the locks make this a commit that waits for all before it.
    const bool confirms = group.AnyAccepted();
    link_->Queue(confirms ? kCommit : kRollback);
    const auto ended = Trip();
    if (!ended.ok()) return ended.status();
    if (confirms && !IsCommitted(ended->front())) return CommitInDoubt();
    return true;
  }

  QueueTimeout(group);
  group.QueueWrites(*link_);
  auto written = Trip();
  if (written.ok() && !IsCommitted(written->back())) written = CommitInDoubt();
  if (!written.ok()) {
    if (ConnectionIsGone(written.status())) group.LeaveInDoubt();
    return written.status();
  }
  group.Answer(*written);
  options_.settings.primary->Acknowledged(group.positions());
  if (auto committed = group.TakeCommitted(); !committed.empty())
    options_.listener->on_committed(std::move(committed));
  return true;
}

}  // namespace sessiond::db
