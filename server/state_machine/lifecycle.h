// What each state accepts: one table, from which refusals, diagrams and tests are made.
#pragma once

#include <array>

#include "absl/strings/string_view.h"
#include "sessiond/v1/session.pb.h"

namespace sessiond {

// Where a session stands, for the question of what it accepts. A session marked as failed is its
// own case while it is ACTIVE or PAUSED.
enum class Situation { kCreating, kActive, kPaused, kFailed, kStopped, kDeleted };
inline constexpr int kSituations = 6;

// The calls that change an existing session.
enum class Call { kActivate, kUpdate, kAdvance, kPause, kResume, kStop, kFail, kDelete, kUndelete };
inline constexpr int kCalls = 9;

enum class Verdict {
  kAccepted,
  kWithForce,      // With DeleteSession.force only; otherwise INVALID_TRANSITION.
  kLabelsAndHold,  // UpdateSession of labels and hold only; otherwise SESSION_NOT_ACTIVE.
  kTransition,     // INVALID_TRANSITION: a verb of the life that does not fit, or goes where the
                   // session already is.
  kNotActive,      // SESSION_NOT_ACTIVE: anything else that does not fit.
  kGone,           // DELETED.
  kNotDeleted,     // NOT_DELETED.
};

// clang-format off
inline constexpr std::array<std::array<Verdict, kCalls>, kSituations> kVerdicts = [] {
  constexpr auto yes = Verdict::kAccepted, force = Verdict::kWithForce, labels = Verdict::kLabelsAndHold,
                 trans = Verdict::kTransition, notact = Verdict::kNotActive, gone = Verdict::kGone,
                 there = Verdict::kNotDeleted;
  return std::array<std::array<Verdict, kCalls>, kSituations>{{
      //            Activate Update  Advance Pause  Resume Stop   Fail   Delete Undelete
      /*CREATING*/ {yes,     yes,    notact, trans, trans, trans, trans, yes,   there},
      /*ACTIVE  */ {trans,   yes,    yes,    yes,   trans, yes,   yes,   force, there},
      /*PAUSED  */ {trans,   yes,    notact, trans, yes,   yes,   yes,   force, there},
      /*failed  */ {trans,   yes,    notact, trans, trans, yes,   trans, force, there},
      /*STOPPED */ {trans,   labels, notact, trans, trans, trans, trans, yes,   there},
      /*DELETED */ {gone,    gone,   gone,   gone,  gone,  gone,  gone,  gone,  yes},
  }};
}();
// clang-format on

struct CallFacts {
  absl::string_view rpc;
  // Where the verb goes; empty for calls that are no verbs of the life. FAILED is the mark, not a
  // state.
  absl::string_view to;
};

// In the order of Call.
inline constexpr CallFacts kCallFacts[kCalls] = {
    {"ActivateSession", "ACTIVE"}, {"UpdateSession", ""},        {"AdvanceSession", ""},
    {"PauseSession", "PAUSED"},    {"ResumeSession", "ACTIVE"},  {"StopSession", "STOPPED"},
    {"FailSession", "FAILED"},     {"DeleteSession", "DELETED"}, {"UndeleteSession", "STOPPED"},
};

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
  return kVerdicts[static_cast<int>(situation)][static_cast<int>(call)];
}

static_assert(VerdictOf(Situation::kDeleted, Call::kUndelete) == Verdict::kAccepted);
static_assert(VerdictOf(Situation::kStopped, Call::kAdvance) == Verdict::kNotActive,
              "what is over never moves again");

}  // namespace sessiond
