// What each state accepts: the verdicts of verbs.inc, from which refusals, diagrams and tests are
// made.
#pragma once

#include <array>

#include "absl/strings/string_view.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond {

// The situation of a session, which decides what it accepts. A session marked as failed is a case
// of its own while it is ACTIVE or PAUSED.
enum class Situation { kCreating, kActive, kPaused, kFailed, kStopped, kDeleted };
inline constexpr int kSituations = 6;

// The verbs of an existing session: Call::kActivateSession and so on.
enum class Call {
#define SESSION_VERB(call, ...) k##call,
#include "state_machine/verbs.inc"
};

enum class Verdict {
  kAccepted,
  kWithForce,       // With DeleteSession.force only; otherwise INVALID_TRANSITION.
  kLabelsAndHold,   // UpdateSession of labels and hold only; otherwise SESSION_NOT_ACTIVE.
  kTransition,      // INVALID_TRANSITION: a verb of the life that does not fit, or goes where the
                    // session already is.
  kNotActive,       // SESSION_NOT_ACTIVE: anything else that does not fit.
  kNotRecoverable,  // NOT_RECOVERABLE.
  kGone,            // DELETED.
  kNotDeleted,      // NOT_DELETED.
};

struct CallFacts {
  absl::string_view rpc;
  // The state that the verb leads to; empty for calls that are no verbs of the life. FAILED is the
  // mark, not a state.
  absl::string_view to;
  // By situation.
  std::array<Verdict, kSituations> verdicts;
};

// By Call.
inline constexpr auto kCallFacts = [] {
  constexpr auto yes = Verdict::kAccepted, force = Verdict::kWithForce,
                 labels = Verdict::kLabelsAndHold, trans = Verdict::kTransition,
                 notact = Verdict::kNotActive, norec = Verdict::kNotRecoverable,
                 gone = Verdict::kGone, there = Verdict::kNotDeleted;
  return std::to_array<CallFacts>({
#define SESSION_VERB(call, reply, to, ...) {#call, to, {{__VA_ARGS__}}},
#include "state_machine/verbs.inc"
  });
}();
inline constexpr int kCalls = kCallFacts.size();

constexpr Situation SituationOf(v1::Session::State state, bool failed) {
  switch (state) {
    case v1::Session::CREATING:
      return Situation::kCreating;
    case v1::Session::ACTIVE:
      return failed ? Situation::kFailed : Situation::kActive;
    case v1::Session::PAUSED:
      return failed ? Situation::kFailed : Situation::kPaused;
    case v1::Session::DELETED:
      return Situation::kDeleted;
    default:
      return Situation::kStopped;
  }
}

constexpr Verdict VerdictOf(Situation situation, Call call) {
  return kCallFacts[static_cast<int>(call)].verdicts[static_cast<int>(situation)];
}

static_assert(VerdictOf(Situation::kDeleted, Call::kUndeleteSession) == Verdict::kAccepted);
static_assert(VerdictOf(Situation::kStopped, Call::kAdvanceSession) == Verdict::kNotActive,
              "what is over never moves again");

}  // namespace sessiond
