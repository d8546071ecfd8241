// Sees to it that every command of a group gets its outcome, or is known to be blocked, by running
// groups: again, if that may help; in halves, if PostgreSQL refuses the group through a fault of
// ours, until the culprit is alone; without the commands whose rows are locked by another
// transaction. It decides only what to run; a GroupRunner makes the round trips.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "db/base/steady_time.h"
#include "db/write/submission.h"

namespace sessiond::db {

using Group = absl::Span<Submission* const>;

// A submission that was left out of its group.
struct Blocked {
  Submission* submission;
  // What is locked; kSomethingElse if unknown.
  enum class By { kPartition, kSession, kSomethingElse } by;
  // By::kPartition: which one.
  int16_t partition = 0;
};

class GroupRunner {
 public:
  virtual ~GroupRunner() = default;

  // Decides the group and commits it. When OK, the outcomes are final.
  virtual absl::Status Run(Group group) = 0;

  // The commands of the group whose partition or session another transaction holds locked at
  // present; does not wait for locks. LOCK_TIMEOUT: a whole table is locked. DATABASE_UNAVAILABLE.
  virtual absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) = 0;

  // After the connection was lost: waits a moment. False, at once, if it has been lost for too
  // long, or the group began too long ago, to go on.
  virtual bool AwaitConnection(SteadyTime begun) = 0;
};

// Runs the group, and returns the blocked commands: they are unchanged, and each session's are in
// order. The outcomes of all others are final.
std::vector<Blocked> Settle(GroupRunner& runner, Group group);

// The commands of the group, in its order, whose session (by id) or partition is locked, and those
// that follow one of them for the same session.
std::vector<Blocked> BlockedBy(Group group, const absl::flat_hash_set<int16_t>& locked_partitions,
                               const absl::flat_hash_set<absl::string_view>& locked_sessions);

}  // namespace sessiond::db
