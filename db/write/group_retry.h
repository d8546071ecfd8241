// Sees to it that every command of a group gets its outcome, or is known to be blocked, by running
// groups: again, where that may help; in halves, where PostgreSQL refuses the group for a reason
// that is ours, until the culprit is alone; without those whose rows somebody else keeps locked.
// It decides only what to run; a GroupRunner makes the round trips.
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
  // What is kept locked; something else than the two, where nobody knows.
  enum class By { kPartition, kSession, kSomethingElse } by;
  // By::kPartition: which one.
  int16_t partition = 0;
};

class GroupRunner {
 public:
  virtual ~GroupRunner() = default;

  // Decides the group and commits it. When OK, the outcomes are final.
  virtual absl::Status Run(Group group) = 0;

  // Of the group, those whose partition or session somebody else keeps locked at present; waits for
  // none of them. LOCK_TIMEOUT: a whole table is locked. DATABASE_UNAVAILABLE.
  virtual absl::StatusOr<std::vector<Blocked>> FindBlocked(Group group) = 0;

  // After the connection was lost: waits a moment. False, at once, where it has been gone for too
  // long, or the group was begun too long ago, to go on.
  virtual bool AwaitConnection(SteadyTime begun) = 0;
};

// Runs the group. Afterwards every outcome is final, but of those that it answers: they are as they
// were, and the commands of each session are among them in their order.
std::vector<Blocked> Settle(GroupRunner& runner, Group group);

// Of the group, in its order: those whose session (by id) or partition is locked, and what comes
// behind one of these for the same session.
std::vector<Blocked> BlockedBy(Group group, const absl::flat_hash_set<int16_t>& locked_partitions,
                               const absl::flat_hash_set<absl::string_view>& locked_sessions);

}  // namespace sessiond::db
