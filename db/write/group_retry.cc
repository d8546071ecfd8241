#include "db/write/group_retry.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "db/connection/sql_error.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

// How often a group runs again after PostgreSQL rolled it back in a race (class 40).
constexpr int kRacesMax = 5;

bool RaceWasLost(const absl::Status& status) { return absl::StartsWith(SqlStateOf(status), "40"); }

// Of a file, or of what is in it: it fails those who need that place, and not their neighbours.
bool APlaceCannotBeRead(const absl::Status& status) {
  return absl::StartsWith(SqlStateOf(status), "58");
}

bool SomebodyKeepsALock(const absl::Status& status) { return SqlStateOf(status) == "55P03"; }

// It is run again even if it is unknown whether it committed: the request rows show that.
absl::Status RunUntilHeard(GroupRunner& runner, Group group) {
  const SteadyTime begun = SteadyTime::Now();
  for (int races = 0;;) {
    absl::Status status = runner.Run(group);
    const bool again = RaceWasLost(status)
                           ? ++races < kRacesMax
                           : ConnectionIsGone(status) && runner.AwaitConnection(begun);
    if (!again) return status;
  }
}

void AnswerAll(Group group, const absl::Status& status) {
  for (Submission* submission : group) submission->outcome = status;
}

std::vector<Blocked> BlockedBySomethingElse(Group group) {
  std::vector<Blocked> blocked;
  for (Submission* submission : group) blocked.push_back({submission, Blocked::By::kSomethingElse});
  return blocked;
}

// Settles the commands of the group that are not blocked and do not follow a blocked one of their
// session; the others join `blocked`.
std::vector<Blocked> SettleRest(GroupRunner& runner, Group group, std::vector<Blocked> blocked) {
  absl::flat_hash_set<const Submission*> left_out;
  absl::flat_hash_map<absl::string_view, Blocked> ahead;
  for (const Blocked& one : blocked) {
    left_out.insert(one.submission);
    ahead.try_emplace(one.submission->command.session_id, one);
  }
  std::vector<Submission*> rest;
  for (Submission* submission : group) {
    if (left_out.contains(submission)) continue;
    const auto before = ahead.find(submission->command.session_id);
    if (before == ahead.end()) {
      rest.push_back(submission);
    } else {
      blocked.push_back({submission, before->second.by, before->second.partition});
    }
  }
  for (const Blocked& one : Settle(runner, rest)) blocked.push_back(one);
  return blocked;
}

// A command blocked later may have arrived before one blocked first.
std::vector<Blocked> InOrderOf(Group group, std::vector<Blocked> blocked) {
  absl::flat_hash_map<const Submission*, std::size_t> place;
  for (std::size_t i = 0; i < group.size(); ++i) place[group[i]] = i;
  std::sort(blocked.begin(), blocked.end(), [&place](const Blocked& a, const Blocked& b) {
    return place.at(a.submission) < place.at(b.submission);
  });
  return blocked;
}

}  // namespace

std::vector<Blocked> Settle(GroupRunner& runner, Group group) {
  if (group.empty()) return {};
  absl::Status status = RunUntilHeard(runner, group);
  for (int tries = 0; SomebodyKeepsALock(status); ++tries) {
    const auto blocked = runner.FindBlocked(group);
    if (blocked.ok() && !blocked->empty())
      return InOrderOf(group, SettleRest(runner, group, *blocked));
    if (SomebodyKeepsALock(blocked.status()) || tries == 1) return BlockedBySomethingElse(group);
    // The lock may be gone by now, or the connection; else it is another kind of lock.
    status = RunUntilHeard(runner, group);
  }
  if (status.ok()) return {};
  if (RaceWasLost(status)) {
    status = Refusal(v1::CONFLICT,
                     "A race was lost five times in a row. Retry with the same request_id.");
  }
  const bool one_is_to_blame =
      APlaceCannotBeRead(status) ||
      (CategoryOf(ReasonOf(status)) == Category::kAdminRequired && !ConnectionIsGone(status));
  if (group.size() == 1 || !one_is_to_blame) {
    if (absl::StartsWith(SqlStateOf(status), "23"))
      spdlog::error("lane: a command was refused with sqlstate {}", SqlStateOf(status));
    AnswerAll(group, status);
    return {};
  }
  const std::size_t half = group.size() / 2;
  return SettleRest(runner, group.subspan(half), Settle(runner, group.first(half)));
}

std::vector<Blocked> BlockedBy(Group group, const absl::flat_hash_set<int16_t>& locked_partitions,
                               const absl::flat_hash_set<absl::string_view>& locked_sessions) {
  std::vector<Blocked> blocked;
  absl::flat_hash_map<absl::string_view, Blocked> first;
  for (Submission* submission : group) {
    const std::string& id = submission->command.session_id;
    Blocked one{submission, Blocked::By::kSession};
    if (const auto before = first.find(id); before != first.end()) {
      one.by = before->second.by;
      one.partition = before->second.partition;
    } else if (!locked_sessions.contains(id)) {
      one.by = Blocked::By::kPartition;
      if (locked_partitions.contains(submission->partition)) {
        one.partition = submission->partition;
      } else if (locked_partitions.contains(submission->request_partition)) {
        one.partition = submission->request_partition;
      } else {
        continue;
      }
    }
    blocked.push_back(one);
    first.try_emplace(id, one);
  }
  return blocked;
}

}  // namespace sessiond::db
