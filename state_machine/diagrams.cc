#include "state_machine/diagrams.h"

#include <cstddef>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "state_machine/lifecycle.h"

namespace sessiond {
namespace {

constexpr absl::string_view kSituationNames[kSituations] = {"CREATING", "ACTIVE",  "PAUSED",
                                                            "failed",   "STOPPED", "DELETED"};

// `PauseSession` → `Pause`.
absl::string_view Verb(int call) {
  absl::string_view rpc = kCallFacts[call].rpc;
  absl::ConsumeSuffix(&rpc, "Session");
  return rpc;
}

// By Verdict.
constexpr absl::string_view kVerdictTexts[] = {
    "yes",
    "with force",
    "labels, hold",
    "INVALID_TRANSITION",
    "SESSION_NOT_ACTIVE",
    "NOT_RECOVERABLE",
    "DELETED",
    "NOT_DELETED",
};
static_assert(std::size(kVerdictTexts) == static_cast<std::size_t>(Verdict::kNotDeleted) + 1);

}  // namespace

std::string LifecycleDiagram() {
  std::string out =
      "stateDiagram-v2\n  [*] --> CREATING : Create (creating)\n  [*] --> ACTIVE : Create\n";
  for (int situation = 0; situation < kSituations; ++situation) {
    for (int call = 0; call < kCalls; ++call) {
      const Verdict verdict = VerdictOf(static_cast<Situation>(situation), static_cast<Call>(call));
      if (kCallFacts[call].to.empty() ||
          (verdict != Verdict::kAccepted && verdict != Verdict::kWithForce))
        continue;
      const absl::string_view to = kCallFacts[call].to == "FAILED" ? "failed" : kCallFacts[call].to;
      absl::StrAppend(&out, "  ", kSituationNames[situation], " --> ", to, " : ", Verb(call),
                      verdict == Verdict::kWithForce ? " (force)" : "", "\n");
    }
  }
  absl::StrAppend(&out, "  ACTIVE --> STOPPED : Advance to the last stage\n");
  return out;
}

std::string StageDiagram(const Workflow& workflow) {
  if (workflow.FirstStage() == nullptr) return "";
  std::string out = absl::StrCat("stateDiagram-v2\n  direction LR\n  [*] --> ",
                                 workflow.FirstStage()->name(), "\n");
  for (const v1::Stage& stage : workflow.definition().stages()) {
    const v1::Stage* next = workflow.NextStage(stage.name());
    absl::StrAppend(&out, "  ", stage.name(), " --> ", next == nullptr ? "[*]" : next->name());
    if (next != nullptr && !next->required_fields().empty()) {
      absl::StrAppend(&out, " : needs ", absl::StrJoin(next->required_fields(), ", "));
    }
    out += "\n";
  }
  return out;
}

std::string StatusTable(const Workflow& workflow) {
  std::string out = "| status | holds first when |\n| --- | --- |\n";
  for (const v1::StatusRule& rule : workflow.definition().statuses()) {
    std::vector<std::string> conditions;
    if (rule.completed()) conditions.push_back("completed");
    if (rule.failed()) conditions.push_back("marked as failed");
    if (!rule.states().empty()) {
      conditions.push_back(absl::StrCat(
          "state ", absl::StrJoin(rule.states(), " or ", [](std::string* text, int state) {
            text->append(v1::Session::State_Name(static_cast<v1::Session::State>(state)));
          })));
    }
    if (!rule.stages().empty())
      conditions.push_back(absl::StrCat("stage ", absl::StrJoin(rule.stages(), " or ")));
    if (!rule.running_tasks().empty()) {
      conditions.push_back(
          absl::StrCat("task ", absl::StrJoin(rule.running_tasks(), " or "), " runs"));
    }
    absl::StrAppend(&out, "| `", rule.name(), "` | ",
                    conditions.empty() ? "otherwise" : absl::StrJoin(conditions, ", "), " |\n");
  }
  return out;
}

std::string AcceptanceTable() {
  std::string out = "| call |", rule = "| --- |";
  for (const absl::string_view situation : kSituationNames) {
    absl::StrAppend(&out, " ", situation, " |");
    rule += " --- |";
  }
  absl::StrAppend(&out, "\n", rule, "\n");
  for (const CallFacts& facts : kCallFacts) {
    absl::StrAppend(&out, "| ", facts.rpc, " |");
    for (const Verdict verdict : facts.verdicts)
      absl::StrAppend(&out, " ", kVerdictTexts[static_cast<std::size_t>(verdict)], " |");
    out += "\n";
  }
  return out;
}

}  // namespace sessiond
