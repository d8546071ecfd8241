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
enum class Call {
  kActivate,
  kUpdate,
  kAdvance,
  kPause,
  kResume,
  kStop,
  kFail,
  kRecover,
  kDelete,
  kUndelete,
  kStartTask,
  kReportTaskProgress,
  kCompleteTask,
  kFailTask,
  kCancelTask,
  kRetryTask,
  kRecordError,
  kResolveError,
  kAppendMessages,
  kAddArtifacts,
  kDeleteArtifact,
};
inline constexpr int kCalls = 21;

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
  // Where the verb goes; empty for calls that are no verbs of the life. FAILED is the mark, not a
  // state.
  absl::string_view to;
  // By situation.
  std::array<Verdict, kSituations> verdicts;
};

// In the order of Call. A pause stops people, not a worker: its reports are taken.
// clang-format off
inline constexpr std::array<CallFacts, kCalls> kCallFacts = [] {
  constexpr auto yes = Verdict::kAccepted, force = Verdict::kWithForce, labels = Verdict::kLabelsAndHold,
                 trans = Verdict::kTransition, notact = Verdict::kNotActive, norec = Verdict::kNotRecoverable,
                 gone = Verdict::kGone, there = Verdict::kNotDeleted;
  return std::array<CallFacts, kCalls>{{
      //                                     CREATING ACTIVE  PAUSED  failed  STOPPED DELETED
      {"ActivateSession",    "ACTIVE",  {{yes,    trans,  trans,  trans,  trans,  gone}}},
      {"UpdateSession",      "",        {{yes,    yes,    yes,    yes,    labels, gone}}},
      {"AdvanceSession",     "",        {{notact, yes,    notact, notact, notact, gone}}},
      {"PauseSession",       "PAUSED",  {{trans,  yes,    trans,  trans,  trans,  gone}}},
      {"ResumeSession",      "ACTIVE",  {{trans,  trans,  yes,    trans,  trans,  gone}}},
      {"StopSession",        "STOPPED", {{trans,  yes,    yes,    yes,    trans,  gone}}},
      {"FailSession",        "FAILED",  {{trans,  yes,    yes,    trans,  trans,  gone}}},
      {"RecoverSession",     "ACTIVE",  {{norec,  yes,    yes,    yes,    norec,  gone}}},
      {"DeleteSession",      "DELETED", {{yes,    force,  force,  force,  yes,    gone}}},
      {"UndeleteSession",    "STOPPED", {{there,  there,  there,  there,  there,  yes}}},
      {"StartTask",          "",        {{notact, yes,    notact, notact, notact, gone}}},
      {"ReportTaskProgress", "",        {{notact, yes,    yes,    notact, notact, gone}}},
      {"CompleteTask",       "",        {{notact, yes,    yes,    notact, notact, gone}}},
      {"FailTask",           "",        {{notact, yes,    yes,    notact, notact, gone}}},
      {"CancelTask",         "",        {{notact, yes,    yes,    notact, notact, gone}}},
      {"RetryTask",          "",        {{notact, yes,    notact, notact, notact, gone}}},
      {"RecordError",        "",        {{yes,    yes,    yes,    yes,    yes,    gone}}},
      {"ResolveError",       "",        {{yes,    yes,    yes,    yes,    yes,    gone}}},
      {"AppendMessages",     "",        {{notact, yes,    notact, notact, notact, gone}}},
      {"AddArtifacts",       "",        {{yes,    yes,    yes,    yes,    notact, gone}}},
      {"DeleteArtifact",     "",        {{yes,    yes,    yes,    yes,    notact, gone}}},
  }};
}();
// clang-format on

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

static_assert(VerdictOf(Situation::kDeleted, Call::kUndelete) == Verdict::kAccepted);
static_assert(kCallFacts[static_cast<int>(Call::kDeleteArtifact)].rpc == "DeleteArtifact");
static_assert(VerdictOf(Situation::kStopped, Call::kAdvance) == Verdict::kNotActive,
              "what is over never moves again");

}  // namespace sessiond
