// A session in memory, without a database: what Decide answers is what it stands at. And what the
// requirements say of the built-in workflows, written down by hand.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "state_machine/decide.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "tests/commands.h"
#include "tests/refusals.h"

namespace sessiond {

inline constexpr char kUuid[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
inline constexpr char kExec[] = "exec_20251230_020944_4ad060d9";

inline const absl::Time kBegin = absl::FromUnixSeconds(1'767'225'600);  // 2026-01-01

// The stages of each workflow, written by hand: each is reached only from the one before.
inline const std::map<std::string, std::vector<std::string>>& Stages() {
  static const auto& stages = *new std::map<std::string, std::vector<std::string>>{
      {"ticket_export",
       {"site_info_collection", "upload", "processing", "review", "jira_export", "completed"}},
      {"execution", {}},
      {"interview", {"interviewing", "completed"}},
      {"onboarding", {"welcome", "paperwork", "provisioning", "training", "onboarded"}},
  };
  return stages;
}

inline std::string IdOf(const std::string& workflow) {
  return workflow == "execution" ? kExec : kUuid;
}

// Whether sessions of a workflow can be marked as failed.
inline bool KnowsFailure(const std::string& workflow) {
  return workflow == "ticket_export" || workflow == "onboarding";
}

inline std::string ExpectedOnboardingStatus(const std::string& state, const std::string& stage,
                                            const std::string& running_task, bool failed,
                                            bool completed) {
  if (completed) return "onboarded";
  if (failed) return "needs_help";
  if (state == "STOPPED" || state == "DELETED") return "withdrawn";
  if (state == "CREATING") return "invited";
  if (state == "PAUSED") return "on_leave";
  if (running_task == "background_check" && stage == "paperwork") return "being_vetted";
  if (running_task == "background_check" || running_task == "account_setup") return "setting_up";
  return stage == "training" ? "learning" : "new";
}

// The status that follows from all else, written by hand: the first condition that holds wins.
inline std::string ExpectedStatus(const std::string& workflow, const std::string& state,
                                  const std::string& stage, const std::string& running_task,
                                  bool failed, bool completed) {
  if (workflow == "execution") return absl::AsciiStrToLower(state);
  if (workflow == "onboarding")
    return ExpectedOnboardingStatus(state, stage, running_task, failed, completed);
  if (completed) return "completed";
  if (workflow == "ticket_export" && failed) return "failed";
  if (state == "STOPPED" || state == "DELETED") return "stopped";
  if (workflow == "interview") return state == "PAUSED" ? "paused" : "active";
  return stage == "jira_export" && running_task == "export" ? "exporting" : "active";
}

// One session's life.
struct Life {
  std::shared_ptr<const Workflow> workflow;
  std::string id;
  Aggregate aggregate;
  std::vector<v1::SessionEvent> events;
  absl::Time now = kBegin;
  // Ids that are drawn differ from command to command.
  uint64_t commands = 0;

  explicit Life(const std::string& name) : Life(BuiltinWorkflow(name), IdOf(name)) {}
  Life(std::shared_ptr<const Workflow> of, std::string session_id)
      : workflow(std::move(of)), id(std::move(session_id)) {}

  const v1::Session& session() const { return *aggregate.session; }
  const v1::SessionTask& task() const { return session().current_task(); }

  absl::StatusOr<Decision> Try(const Command& command) const {
    Command seeded = command;
    seeded.seed = {commands << 16, commands << 32};
    return Decide(*workflow, aggregate, seeded, now);
  }
  // Tries, and takes over what was decided; the answer is whole.
  absl::StatusOr<Decision> Do(const Command& command) {
    ++commands;
    auto decision = Try(command);
    if (!decision.ok()) return decision;
    events.insert(events.end(), decision->events.begin(), decision->events.end());
    Decision taken = *decision;
    Apply(taken, &aggregate);
    now += absl::Seconds(1);
    return decision;
  }
  void Must(const Command& command) {
    const auto decision = Do(command);
    ASSERT_TRUE(decision.ok()) << decision.status();
  }

  void Begin(bool creating = false) {
    v1::CreateSessionRequest request = NewSession(workflow->name());
    request.set_session_id(id);
    request.set_creating(creating);
    // All that any stage needs.
    auto& context = *request.mutable_session()->mutable_context()->mutable_fields();
    if (workflow->name() == "ticket_export") context["jira_project_key"] = StringValue("KEY");
    if (workflow->name() == "onboarding") {
      context["department"] = StringValue("sales");
      context["start_day"] = StringValue("2026-02-01");
      context["remote"] = BoolValue(true);
    }
    Must(Create(workflow, request));
  }
  // REQUIRES: `stage` is ahead.
  void AdvanceTo(const std::string& stage) {
    while (session().stage() != stage) {
      const v1::Stage* next = workflow->NextStage(session().stage());
      ASSERT_NE(next, nullptr);
      Must(Advance(id, next->name()));
    }
  }
};

// A decision, or a refusal, in words that a table can hold: the events' types (`nothing` for none),
// or `!` and the reason.
inline std::string Facts(const absl::StatusOr<Decision>& decision) {
  if (!decision.ok()) return absl::StrCat("!", v1::ErrorReason_Name(ReasonOf(decision.status())));
  if (decision->events.empty()) return "nothing";
  return absl::StrJoin(decision->events, "+", [](std::string* out, const v1::SessionEvent& event) {
    out->append(v1::SessionEvent::Type_Name(event.type()));
  });
}

// The fields that a refusal complains of.
inline std::vector<std::string> Violations(const absl::Status& status) {
  std::vector<std::string> fields;
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  for (const auto& violation : bad.field_violations()) fields.push_back(violation.field());
  return fields;
}

// One entry of a refusal's metadata.
inline std::string Metadata(const absl::Status& status, const std::string& key) {
  const auto info = ErrorInfoOf(status);
  const auto found = info.metadata().find(key);
  return found == info.metadata().end() ? "(none)" : found->second;
}

}  // namespace sessiond
