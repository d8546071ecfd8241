// The state machine, exhaustively: every situation × every call × every built-in workflow, against
// tables written by hand from the requirements. Nothing here is derived from lifecycle.h.
#include "state_machine/decide.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "state_machine/evolve.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"
#include "tests/life.h"

namespace sessiond {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::ElementsAre;
using testing::HasSubstr;
using v1::Session;
using v1::SessionEvent;

TEST(Status, IsTheOneOfTheRequirementsWhereverASessionStands) {
  int asked = 0;
  for (const auto& [name, stages] : Stages()) {
    const auto workflow = BuiltinWorkflow(name);
    std::vector<std::string> all_stages = stages;
    if (stages.empty()) all_stages = {""};
    for (const auto state : {Session::CREATING, Session::ACTIVE, Session::PAUSED, Session::STOPPED,
                             Session::DELETED}) {
      for (const std::string& stage : all_stages) {
        for (const char* task :
             {"", "processing", "export", "adf_validation", "background_check", "account_setup"}) {
          for (const bool failed : {false, true}) {
            for (const bool completed : {false, true}) {
              EXPECT_EQ(
                  workflow->StatusOf({state, stage, task, failed, completed}),
                  ExpectedStatus(name, Session::State_Name(state), stage, task, failed, completed))
                  << name << " " << Session::State_Name(state) << " " << stage << " task " << task
                  << (failed ? " failed" : "") << (completed ? " completed" : "");
              ++asked;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(asked, 5 * 6 * 2 * 2 * (6 + 2 + 1 + 5));
}

// -----------------------------------------------------------------------------------------------
// where a session may stand

// The states, a failed one by where it failed, a stopped one by how it ended, and the three in
// which there is nothing.
constexpr const char* kSituations[] = {
    "CREATING",        "ACTIVE",    "PAUSED",  "failed, ACTIVE",     "failed, PAUSED", "STOPPED",
    "STOPPED, failed", "COMPLETED", "DELETED", "DELETED, COMPLETED", "never existed",  "archived"};

// A session in this situation at this stage; nothing where the workflow has no such thing.
std::optional<Life> Reach(const std::string& name, const std::string& situation,
                          const std::string& stage) {
  Life life(name);
  const bool at_end = !Stages().at(name).empty() && stage == Stages().at(name).back();
  const bool completed = absl::StrContains(situation, "COMPLETED");
  const bool failed = absl::StrContains(situation, "failed");
  if (situation == "never existed") return life;
  if (situation == "archived") {
    life.aggregate.tombstone = Tombstone{.archive_time = kBegin};
    return life;
  }
  if (at_end != completed || (failed && !KnowsFailure(name))) return std::nullopt;
  if (situation == "CREATING" && !Stages().at(name).empty() && stage != Stages().at(name).front())
    return std::nullopt;
  life.Begin(situation == "CREATING");
  if (!stage.empty()) life.AdvanceTo(stage);
  if (situation == "failed, PAUSED" || situation == "PAUSED")
    life.Must(About<v1::PauseSessionRequest>(life.id));
  if (failed) life.Must(About<v1::FailSessionRequest>(life.id));
  if (situation == "STOPPED" || situation == "STOPPED, failed")
    life.Must(About<v1::StopSessionRequest>(life.id));
  if (absl::StartsWith(situation, "DELETED")) life.Must(Delete(life.id, /*force=*/true));
  return life;
}

// What the test itself keeps of a session.
struct Model {
  std::string workflow, state, stage;
  bool failed = false, completed = false;

  std::string Status() const {
    return state.empty() ? "" : ExpectedStatus(workflow, state, stage, "", failed, completed);
  }
  std::string Show() const { return absl::StrCat(state, "/", stage, "/", Status()); }

  // What each kind of event does to a session.
  Model After(const std::string& event, const std::string& target_stage) const {
    static const auto& states = *new std::map<std::string, std::string>{
        {"ACTIVATED", "ACTIVE"},  {"PAUSED", "PAUSED"},   {"RESUMED", "ACTIVE"},
        {"STOPPED", "STOPPED"},   {"DELETED", "DELETED"}, {"UNDELETED", "STOPPED"},
        {"COMPLETED", "STOPPED"},
    };
    Model after = *this;
    if (const auto found = states.find(event); found != states.end()) after.state = found->second;
    if (event == "ADVANCED") after.stage = target_stage;
    if (event == "FAILED") after.failed = true;
    if (event == "COMPLETED") after.completed = true;
    return after;
  }
};

Model ModelOf(const std::string& workflow, const std::string& situation, const std::string& stage) {
  Model model{.workflow = workflow, .stage = stage};
  model.completed = absl::StrContains(situation, "COMPLETED");
  model.failed = absl::StrContains(situation, "failed");
  for (const char* state : {"CREATING", "ACTIVE", "PAUSED", "STOPPED", "DELETED"}) {
    if (absl::StrContains(situation, state)) model.state = state;
  }
  if (situation == "COMPLETED") model.state = "STOPPED";
  return model;
}

// A decision, or a refusal, in words that a table can hold.
std::string Tell(const absl::StatusOr<Decision>& decision) {
  if (!decision.ok()) return v1::ErrorReason_Name(ReasonOf(decision.status()));
  std::vector<std::string> facts;
  const auto state = [](Session::State value) {
    return value == Session::STATE_UNSPECIFIED ? "" : Session::State_Name(value);
  };
  for (const SessionEvent& event : decision->events) {
    facts.push_back(absl::StrCat(SessionEvent::Type_Name(event.type()), ": ",
                                 state(event.old_state()), "/", event.old_stage(), "/",
                                 event.old_status(), " -> ", state(event.new_state()), "/",
                                 event.new_stage(), "/", event.new_status()));
  }
  return absl::StrJoin(facts, "; ");
}

// The same, of what the table says.
std::string TellExpected(const std::string& cell, Model model, const std::string& target_stage) {
  if (v1::ErrorReason reason; v1::ErrorReason_Parse(cell, &reason) && cell != "DELETED")
    return cell;
  if (cell == "gone") return "DELETED";
  std::vector<std::string> facts;
  for (const std::string& event : std::vector<std::string>(absl::StrSplit(cell, '+'))) {
    const Model after = model.After(event, target_stage);
    facts.push_back(absl::StrCat(event, ": ", model.Show(), " -> ", after.Show()));
    model = after;
  }
  return absl::StrJoin(facts, "; ");
}

void ExpectStands(const Session& session, const Model& model) {
  EXPECT_EQ(Session::State_Name(session.state()), model.state);
  EXPECT_EQ(session.stage(), model.stage);
  EXPECT_EQ(session.status(), model.Status());
  EXPECT_EQ(session.has_fail_time(), model.failed);
  EXPECT_EQ(session.has_complete_time(), model.completed);
  EXPECT_EQ(session.has_delete_time(), model.state == "DELETED");
}

// -----------------------------------------------------------------------------------------------
// what each state accepts

struct Row {
  const char* situation;
  const char *activate, *pause, *resume, *stop, *fail, *remove, *remove_by_force, *undelete;
  const char *update_labels, *update_hold, *update_name, *increment;
};

constexpr char kMove[] = "INVALID_TRANSITION";
constexpr char kShut[] = "SESSION_NOT_ACTIVE";
constexpr char kNone[] = "NEVER_EXISTED";
constexpr char kPast[] = "ARCHIVED";
constexpr char kHere[] = "NOT_DELETED";

// clang-format off
constexpr Row kRows[] = {
  // situation            Activate     Pause     Resume     Stop       Fail      Delete     Delete(force)      Undelete     labels     hold       name       counter
  {"CREATING",           "ACTIVATED", kMove,    kMove,     kMove,     kMove,    "DELETED", "DELETED",         kHere,       "UPDATED", "UPDATED", "UPDATED", "UPDATED"},
  {"ACTIVE",             kMove,       "PAUSED", kMove,     "STOPPED", "FAILED", kMove,     "STOPPED+DELETED", kHere,       "UPDATED", "UPDATED", "UPDATED", "UPDATED"},
  {"PAUSED",             kMove,       kMove,    "RESUMED", "STOPPED", "FAILED", kMove,     "STOPPED+DELETED", kHere,       "UPDATED", "UPDATED", "UPDATED", "UPDATED"},
  {"failed, ACTIVE",     kMove,       kMove,    kMove,     "STOPPED", kMove,    kMove,     "STOPPED+DELETED", kHere,       "UPDATED", "UPDATED", "UPDATED", "UPDATED"},
  {"failed, PAUSED",     kMove,       kMove,    kMove,     "STOPPED", kMove,    kMove,     "STOPPED+DELETED", kHere,       "UPDATED", "UPDATED", "UPDATED", "UPDATED"},
  {"STOPPED",            kMove,       kMove,    kMove,     kMove,     kMove,    "DELETED", "DELETED",         kHere,       "UPDATED", "UPDATED", kShut,     kShut},
  {"STOPPED, failed",    kMove,       kMove,    kMove,     kMove,     kMove,    "DELETED", "DELETED",         kHere,       "UPDATED", "UPDATED", kShut,     kShut},
  {"COMPLETED",          kMove,       kMove,    kMove,     kMove,     kMove,    "DELETED", "DELETED",         kHere,       "UPDATED", "UPDATED", kShut,     kShut},
  {"DELETED",            "gone",      "gone",   "gone",    "gone",    "gone",   "gone",    "gone",            "UNDELETED", "gone",    "gone",    "gone",    "gone"},
  {"DELETED, COMPLETED", "gone",      "gone",   "gone",    "gone",    "gone",   "gone",    "gone",            "UNDELETED", "gone",    "gone",    "gone",    "gone"},
  {"never existed",      kNone,       kNone,    kNone,     kNone,     kNone,    kNone,     kNone,             kNone,       kNone,     kNone,     kNone,     kNone},
  {"archived",           kPast,       kPast,    kPast,     kPast,     kPast,    kPast,     kPast,             kPast,       kPast,     kPast,     kPast,     kPast},
};
// clang-format on

Command SetHold(const std::string& id, bool hold) {
  v1::UpdateSessionRequest request;
  request.mutable_session()->set_hold(hold);
  request.mutable_update_mask()->add_paths("hold");
  return About(id, request);
}

Command SetName(const std::string& id, const std::string& name) {
  v1::UpdateSessionRequest request;
  request.mutable_session()->set_owner_display_name(name);
  request.mutable_update_mask()->add_paths("owner_display_name");
  return About(id, request);
}

std::string CounterOf(const std::string& workflow) {
  if (workflow == "ticket_export") return "total_tickets_generated";
  if (workflow == "onboarding") return "open_questions";
  return workflow == "interview" ? "current_question_number" : "";
}

TEST(Decide, EverySituationAnswersEveryCallAsTheTableSays) {
  std::set<std::string> reached;
  for (const auto& [name, stages] : Stages()) {
    std::vector<std::string> all_stages = stages;
    if (stages.empty()) all_stages = {""};
    for (const Row& row : kRows) {
      for (const std::string& stage : all_stages) {
        const std::optional<Life> life = Reach(name, row.situation, stage);
        if (!life.has_value()) continue;
        reached.insert(row.situation);
        const std::string& id = life->id;
        const bool here = life->aggregate.session.has_value();
        const Model model = ModelOf(name, row.situation, stage);
        if (here) ExpectStands(life->session(), model);
        // Where failure is not known, going there is never possible.
        const bool fails = std::string(row.fail) == "FAILED" && !KnowsFailure(name);
        std::vector<std::pair<Command, const char*>> calls = {
            {About<v1::ActivateSessionRequest>(id), row.activate},
            {About<v1::PauseSessionRequest>(id), row.pause},
            {About<v1::ResumeSessionRequest>(id), row.resume},
            {About<v1::StopSessionRequest>(id), row.stop},
            {About<v1::FailSessionRequest>(id), fails ? kMove : row.fail},
            {Delete(id, false), row.remove},
            {Delete(id, true), row.remove_by_force},
            {About<v1::UndeleteSessionRequest>(id), row.undelete},
            {SetLabel(id, "team", "a"), row.update_labels},
            {SetHold(id, true), row.update_hold},
            {SetName(id, "Another"), row.update_name},
        };
        const std::string counter = CounterOf(name);
        if (!counter.empty()) calls.emplace_back(Increment(id, counter, 1), row.increment);
        for (std::size_t i = 0; i < calls.size(); ++i) {
          SCOPED_TRACE(absl::StrCat(name, ", ", row.situation, " at ", stage, ", column ", i + 1));
          Life after = *life;
          const auto decision = after.Do(calls[i].first);
          EXPECT_EQ(Tell(decision), TellExpected(calls[i].second, model, ""));
          if (!decision.ok()) continue;
          Model expected = model;
          for (const SessionEvent& event : decision->events)
            expected = expected.After(SessionEvent::Type_Name(event.type()), "");
          ExpectStands(decision->session, expected);
        }
      }
    }
  }
  EXPECT_EQ(reached.size(), std::size(kSituations));
  EXPECT_EQ(std::size(kRows), std::size(kSituations));
}

TEST(Decide, OnlyTheNextStageIsReachableAndOnlyFromActive) {
  for (const auto& [name, stages] : Stages()) {
    std::vector<std::string> all_stages = stages;
    if (stages.empty()) all_stages = {""};
    std::vector<std::string> targets = stages;
    targets.insert(targets.end(), {"nowhere", ""});
    for (const char* situation : kSituations) {
      for (std::size_t at = 0; at < all_stages.size(); ++at) {
        const std::optional<Life> life = Reach(name, situation, all_stages[at]);
        if (!life.has_value()) continue;
        for (const std::string& target : targets) {
          SCOPED_TRACE(absl::StrCat(name, ", ", situation, " at ", all_stages[at], " to ", target));
          const std::string what = situation;
          std::string cell = kShut;
          if (what == "ACTIVE") {
            const bool next = at + 1 < stages.size() && stages[at + 1] == target;
            cell = !next ? kMove : target == stages.back() ? "ADVANCED+COMPLETED" : "ADVANCED";
          }
          if (absl::StartsWith(what, "DELETED")) cell = "gone";
          if (what == "never existed") cell = kNone;
          if (what == "archived") cell = kPast;
          EXPECT_EQ(Tell(life->Try(Advance(life->id, target))),
                    TellExpected(cell, ModelOf(name, situation, all_stages[at]), target));
        }
      }
    }
  }
}

TEST(Decide, AnIdThatIsOrWasTakenIsNotGivenAgain) {
  for (const auto& [name, stages] : Stages()) {
    std::vector<std::string> all_stages = stages;
    if (stages.empty()) all_stages = {""};
    for (const char* situation : kSituations) {
      for (const std::string& stage : all_stages) {
        const std::optional<Life> life = Reach(name, situation, stage);
        if (!life.has_value()) continue;
        v1::CreateSessionRequest request = NewSession(name);
        request.set_session_id(life->id);
        const auto decision = life->Try(Create(life->workflow, request));
        if (std::string(situation) == "never existed") {
          EXPECT_TRUE(decision.ok()) << decision.status();
          continue;
        }
        EXPECT_EQ(ReasonOf(decision.status()), v1::SESSION_EXISTS) << name << " " << situation;
        EXPECT_THAT(std::string(decision.status().message()),
                    HasSubstr("Session already exists for this context"));
      }
    }
  }
}

// -----------------------------------------------------------------------------------------------
// what a refusal tells

std::string AllowedIn(const std::string& workflow, const std::string& situation,
                      const Command& command) {
  const std::string stage = Stages().at(workflow).empty() ? "" : Stages().at(workflow).front();
  const std::string at = situation == "COMPLETED" ? Stages().at(workflow).back() : stage;
  const std::optional<Life> life = Reach(workflow, situation, at);
  return Metadata(life->Try(command).status(), "allowed");
}

TEST(Refusals, OfATransitionSayWhatIsReachable) {
  const Command activate = About<v1::ActivateSessionRequest>(kUuid);
  const Command pause = About<v1::PauseSessionRequest>(kUuid);
  EXPECT_EQ(AllowedIn("ticket_export", "CREATING", pause), "ACTIVE,DELETED");
  EXPECT_EQ(AllowedIn("ticket_export", "ACTIVE", activate), "PAUSED,STOPPED,FAILED");
  EXPECT_EQ(AllowedIn("ticket_export", "PAUSED", pause), "ACTIVE,STOPPED,FAILED");
  EXPECT_EQ(AllowedIn("ticket_export", "failed, ACTIVE", pause), "STOPPED");
  EXPECT_EQ(AllowedIn("ticket_export", "failed, PAUSED", pause), "STOPPED");
  EXPECT_EQ(AllowedIn("ticket_export", "STOPPED", pause), "DELETED");
  EXPECT_EQ(AllowedIn("ticket_export", "COMPLETED", pause), "DELETED");
  EXPECT_EQ(AllowedIn("interview", "ACTIVE", activate), "PAUSED,STOPPED");
  EXPECT_EQ(AllowedIn("interview", "PAUSED", pause), "ACTIVE,STOPPED");
}

TEST(Refusals, OfAnythingElseSayWhichCallsAreAccepted) {
  const Command advance = Advance(kUuid, "upload");
  EXPECT_EQ(AllowedIn("ticket_export", "CREATING", advance),
            "ActivateSession,UpdateSession,DeleteSession,RecordError,ResolveError,AddArtifacts,"
            "DeleteArtifact");
  EXPECT_EQ(AllowedIn("ticket_export", "PAUSED", advance),
            "UpdateSession,ResumeSession,StopSession,FailSession,RecoverSession,DeleteSession,"
            "ReportTaskProgress,CompleteTask,FailTask,CancelTask,RecordError,ResolveError,"
            "AddArtifacts,DeleteArtifact");
  EXPECT_EQ(AllowedIn("ticket_export", "failed, ACTIVE", advance),
            "UpdateSession,StopSession,RecoverSession,DeleteSession,RecordError,ResolveError,"
            "AddArtifacts,DeleteArtifact");
  EXPECT_EQ(AllowedIn("ticket_export", "STOPPED", advance),
            "UpdateSession,DeleteSession,RecordError,ResolveError");
  // Without a failed status FailSession is accepted nowhere, and without task types no task call.
  EXPECT_EQ(AllowedIn("interview", "PAUSED", advance),
            "UpdateSession,ResumeSession,StopSession,RecoverSession,DeleteSession,RecordError,"
            "ResolveError,AddArtifacts,DeleteArtifact");
}

TEST(Refusals, OfATransitionBeginWithTheWordsThatCallersKnow) {
  Life life("ticket_export");
  life.Begin();
  life.Must(About<v1::PauseSessionRequest>(life.id));
  const absl::Status paused_twice = life.Try(About<v1::PauseSessionRequest>(life.id)).status();
  EXPECT_EQ(paused_twice.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(paused_twice.message()),
              testing::StartsWith("Cannot transition from PAUSED to PAUSED"));
  EXPECT_EQ(Metadata(paused_twice, "from"), "PAUSED");
  EXPECT_EQ(Metadata(paused_twice, "to"), "PAUSED");
  EXPECT_EQ(Metadata(paused_twice, "category"), "USER_FIXABLE");

  life.Must(About<v1::ResumeSessionRequest>(life.id));
  const absl::Status skipped = life.Try(Advance(life.id, "review")).status();
  EXPECT_THAT(std::string(skipped.message()),
              testing::StartsWith("Cannot transition from site_info_collection to review"));
  EXPECT_EQ(Metadata(skipped, "from"), "site_info_collection");
  EXPECT_EQ(Metadata(skipped, "to"), "review");
  EXPECT_EQ(Metadata(skipped, "allowed"), "upload");
}

TEST(Refusals, OfWhatIsGoneSaySinceWhen) {
  const Life deleted = *Reach("ticket_export", "DELETED", "review");
  const absl::Status gone = deleted.Try(SetLabel(kUuid, "a", "b")).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Metadata(gone, "session_id"), kUuid);
  EXPECT_EQ(Metadata(gone, "delete_time"), ToRfc3339(FromProto(deleted.session().delete_time())));
  const Life archived = *Reach("ticket_export", "archived", "review");
  const absl::Status past = archived.Try(SetLabel(kUuid, "a", "b")).status();
  EXPECT_EQ(Metadata(past, "archive_time"), "2026-01-01T00:00:00.000000Z");
}

// -----------------------------------------------------------------------------------------------
// the order of refusals: existence · etag · state · stage · fields

template <class Request>
Command WithEtag(const std::string& id, const std::string& etag, Request request = {}) {
  request.set_etag(etag);
  return About(id, request);
}

TEST(Order, ExistenceComesBeforeTheEtag) {
  for (const char* situation : {"never existed", "archived", "DELETED"}) {
    const Life life = *Reach("ticket_export", situation, "upload");
    const auto decision = life.Try(WithEtag<v1::PauseSessionRequest>(life.id, "r999"));
    EXPECT_EQ(v1::ErrorReason_Name(ReasonOf(decision.status())),
              std::string(situation) == "never existed" ? "NEVER_EXISTED"
              : std::string(situation) == "archived"    ? "ARCHIVED"
                                                        : "DELETED");
  }
}

TEST(Order, TheEtagComesBeforeTheState) {
  for (const char* situation : {"CREATING", "PAUSED", "STOPPED"}) {
    const Life life = *Reach("ticket_export", situation, "site_info_collection");
    const auto stale = life.Try(WithEtag<v1::PauseSessionRequest>(life.id, "r999"));
    EXPECT_EQ(ReasonOf(stale.status()), v1::ETAG_MISMATCH) << situation;
    EXPECT_EQ(stale.status().code(), absl::StatusCode::kAborted);
    const std::string current = Metadata(stale.status(), "current_etag");
    EXPECT_EQ(current, absl::StrCat("r", life.session().revision()));
    const auto fresh = life.Try(WithEtag<v1::PauseSessionRequest>(life.id, current));
    EXPECT_EQ(ReasonOf(fresh.status()), v1::INVALID_TRANSITION) << situation;
  }
}

TEST(Order, TheStateComesBeforeTheStageAndTheStageBeforeTheFields) {
  Life life("ticket_export");
  v1::CreateSessionRequest request = NewSession("ticket_export");
  request.set_session_id(life.id);
  life.Must(Create(life.workflow, request));  // without the jira_project_key
  for (const char* stage : {"upload", "processing", "review"}) life.Must(Advance(life.id, stage));
  EXPECT_EQ(ReasonOf(life.Try(Advance(life.id, "completed")).status()), v1::INVALID_TRANSITION);
  EXPECT_EQ(ReasonOf(life.Try(Advance(life.id, "jira_export")).status()), v1::STAGE_FIELDS_MISSING);
  life.Must(About<v1::PauseSessionRequest>(life.id));
  EXPECT_EQ(ReasonOf(life.Try(Advance(life.id, "completed")).status()), v1::SESSION_NOT_ACTIVE);
  EXPECT_EQ(ReasonOf(life.Try(Advance(life.id, "jira_export")).status()), v1::SESSION_NOT_ACTIVE);
}

TEST(Order, TheStateComesBeforeTheFieldsOfAnUpdate) {
  const Life life = *Reach("ticket_export", "STOPPED", "upload");
  v1::UpdateSessionRequest request;
  (*request.mutable_session()->mutable_context()->mutable_fields())["unknown"] = NumberValue(1);
  request.mutable_update_mask()->add_paths("context");
  EXPECT_EQ(ReasonOf(life.Try(About(life.id, request)).status()), v1::SESSION_NOT_ACTIVE);
}

TEST(Order, AnIdThatIsTakenComesBeforeTheFieldsOfACreation) {
  const Life life = *Reach("ticket_export", "ACTIVE", "upload");
  v1::CreateSessionRequest request;
  request.set_session_id(life.id);
  (*request.mutable_session()->mutable_context()->mutable_fields())["unknown"] = NumberValue(1);
  EXPECT_EQ(ReasonOf(life.Try(Create(life.workflow, request)).status()), v1::SESSION_EXISTS);
}

TEST(Etag, OfAnUpdateMayStandInTheSessionToo) {
  const Life life = *Reach("ticket_export", "ACTIVE", "upload");
  v1::UpdateSessionRequest request;
  request.mutable_update_mask()->add_paths("hold");
  request.mutable_session()->set_etag("r999");
  EXPECT_EQ(ReasonOf(life.Try(About(life.id, request)).status()), v1::ETAG_MISMATCH);
  request.mutable_session()->set_etag(EtagOf(life.session()));
  EXPECT_TRUE(life.Try(About(life.id, request)).ok());
}

TEST(Etag, ChangesWithEveryChange) {
  Life life("interview");
  life.Begin();
  std::set<std::string> etags = {EtagOf(life.session())};
  for (int i = 0; i < 5; ++i) {
    life.Must(SetLabel(life.id, "n", absl::StrCat(i)));
    EXPECT_TRUE(etags.insert(EtagOf(life.session())).second);
  }
}

// -----------------------------------------------------------------------------------------------
// creation

TEST(Creation, BeginsAtTheFirstStageActiveOrCreating) {
  for (const auto& [name, stages] : Stages()) {
    for (const bool creating : {false, true}) {
      Life life(name);
      v1::CreateSessionRequest request = NewSession(name);
      request.set_session_id(life.id);
      request.set_creating(creating);
      const auto decision = life.Do(Create(life.workflow, request));
      const Model born{.workflow = name,
                       .state = creating ? "CREATING" : "ACTIVE",
                       .stage = stages.empty() ? "" : stages.front()};
      EXPECT_EQ(Tell(decision), absl::StrCat("CREATED: // -> ", born.Show()));
      const Session& session = life.session();
      EXPECT_EQ(session.session_id(), life.id);
      EXPECT_EQ(session.namespace_(), "default");
      EXPECT_EQ(session.workflow(), name);
      EXPECT_EQ(session.workflow_revision(), 1);
      EXPECT_EQ(session.sequence(), 1);
      EXPECT_EQ(session.revision(), 1);
      EXPECT_EQ(FromProto(session.create_time()), kBegin);
      EXPECT_EQ(FromProto(session.update_time()), kBegin);
      EXPECT_EQ(FromProto(session.recover_before_time()),
                kBegin + absl::Hours(24 * (name == "onboarding" ? 30 : 7)));
      EXPECT_FALSE(session.has_purge_time());
      const std::string counter = CounterOf(name);
      EXPECT_EQ(session.counters_size(), counter.empty() ? 0 : name == "onboarding" ? 2 : 1);
      if (!counter.empty()) {
        EXPECT_EQ(session.counters().at(counter), 0);
      }
    }
  }
}

TEST(Creation, IgnoresWhatOnlyTheDaemonSets) {
  Life life("ticket_export");
  v1::CreateSessionRequest request = NewSession("ticket_export");
  request.set_session_id(life.id);
  Session& given = *request.mutable_session();
  given.set_state(Session::STOPPED);
  given.set_stage("review");
  given.set_status("failed");
  given.set_sequence(7);
  given.set_fail_reason("no");
  given.set_workflow_revision(9);
  (*given.mutable_counters())["total_tickets_generated"] = 5;
  *given.mutable_fail_time() = ToProto(kBegin);
  *given.mutable_complete_time() = ToProto(kBegin);
  *given.mutable_purge_time() = ToProto(kBegin);
  life.Must(Create(life.workflow, request));
  ExpectStands(life.session(),
               {.workflow = "ticket_export", .state = "ACTIVE", .stage = "site_info_collection"});
  EXPECT_EQ(life.session().sequence(), 1);
  EXPECT_EQ(life.session().workflow_revision(), 1);
  EXPECT_EQ(life.session().fail_reason(), "");
  EXPECT_EQ(life.session().counters().at("total_tickets_generated"), 0);
  EXPECT_FALSE(life.session().has_purge_time());
}

struct Requirement {
  const char* workflow;
  bool owner, name;
  const char* missing;  // empty: accepted
};

TEST(Creation, ActiveNeedsWhatTheWorkflowRequiresAndCreatingDoesNot) {
  constexpr Requirement kRequirements[] = {
      {"ticket_export", true, true, ""},
      {"ticket_export", false, true, "owner_id"},
      {"ticket_export", true, false, "owner_display_name"},
      {"ticket_export", false, false, "owner_id,owner_display_name"},
      {"interview", true, false, ""},
      {"interview", false, false, "owner_id"},
      {"execution", false, false, ""},
  };
  for (const Requirement& requirement : kRequirements) {
    SCOPED_TRACE(absl::StrCat(requirement.workflow, " ", requirement.missing));
    Life life(requirement.workflow);
    v1::CreateSessionRequest request = NewSession(requirement.workflow);
    request.set_session_id(life.id);
    if (!requirement.owner) request.mutable_session()->clear_owner_id();
    if (!requirement.name) request.mutable_session()->clear_owner_display_name();
    const auto at_once = life.Try(Create(life.workflow, request));
    request.set_creating(true);
    life.Must(Create(life.workflow, request));
    const auto later = life.Try(About<v1::ActivateSessionRequest>(life.id));
    for (const auto* decision : {&at_once, &later}) {
      EXPECT_EQ(decision->ok(), *requirement.missing == '\0') << decision->status();
      if (decision->ok()) continue;
      EXPECT_EQ(ReasonOf(decision->status()), v1::STAGE_FIELDS_MISSING);
      EXPECT_EQ(Metadata(decision->status(), "fields"), requirement.missing);
    }
  }
}

// -----------------------------------------------------------------------------------------------
// fields

// A workflow with a field of every kind.
std::shared_ptr<const Workflow> Kinds() {
  auto workflow = Workflow::Parse(R"pb(
    name: "kinds"
    revision: 3
    id_format: UUID
    stages { name: "first" required_fields: "must" }
    stages { name: "second" required_fields: "later" }
    stages { name: "third" }
    statuses { name: "any" }
    fields { name: "must" type: STRING max_length: 8 }
    fields { name: "later" type: NUMBER }
    fields { name: "choice" type: STRING allowed_values: "a" allowed_values: "b" }
    fields { name: "text" type: STRING }
    fields { name: "flag" type: BOOL }
    fields { name: "object" type: STRUCT }
    fields { name: "list" type: LIST }
    counters: "count"
    references: "thing"
  )pb");
  EXPECT_TRUE(workflow.ok()) << workflow.status();
  return *workflow;
}

Life NewKinds() {
  Life life(Kinds(), kUuid);
  v1::CreateSessionRequest request = NewSession("kinds");
  request.set_session_id(life.id);
  (*request.mutable_session()->mutable_context()->mutable_fields())["must"] = StringValue("x");
  life.Must(Create(life.workflow, request));
  return life;
}

// A textproto of an UpdateSessionRequest, as a command.
Command Update(const std::string& text) {
  v1::UpdateSessionRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return About(kUuid, request);
}

Value ListOf(int numbers) {
  Value value;
  for (int i = 0; i < numbers; ++i) value.mutable_list_value()->add_values()->set_number_value(i);
  return value;
}

Value ObjectOf(const std::string& text) {
  Value value;
  (*value.mutable_struct_value()->mutable_fields())["k"] = StringValue(text);
  return value;
}

TEST(Fields, OfTheContextAreHeldAgainstTheWorkflowWhicheverCallBringsThem) {
  struct Case {
    const char* field;
    Value value;
    bool fits;
  };
  const std::vector<Case> cases = {
      {"must", StringValue(std::string(8, 'x')), true},
      {"must", StringValue(std::string(9, 'x')), false},
      {"must", StringValue("äöüß"), true},
      {"must", StringValue("äöüßx"), false},
      {"must", NumberValue(1), false},
      {"later", NumberValue(-1.5), true},
      {"later", StringValue("1"), false},
      {"choice", StringValue("a"), true},
      {"choice", StringValue("A"), false},
      {"choice", StringValue(""), false},
      {"text", StringValue(std::string(4096, 'x')), true},
      {"text", StringValue(std::string(4097, 'x')), false},
      {"text", BoolValue(true), false},
      {"text", NullValue(), false},
      {"flag", BoolValue(false), true},
      {"flag", StringValue("true"), false},
      {"object", ObjectOf("x"), true},
      {"object", ListOf(1), false},
      {"list", ListOf(3), true},
      {"list", ObjectOf("x"), false},
      {"unknown", StringValue("x"), false},
      {"Must", StringValue("x"), false},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(absl::StrCat(test.field, " ", test.value.ShortDebugString().substr(0, 60)));
    v1::CreateSessionRequest creation = NewSession("kinds");
    creation.set_session_id(kUuid);
    auto& context = *creation.mutable_session()->mutable_context()->mutable_fields();
    context["must"] = StringValue("x");
    context[test.field] = test.value;
    const auto created = Life(Kinds(), kUuid).Try(Create(Kinds(), creation));

    v1::UpdateSessionRequest update;
    *update.mutable_session()->mutable_context() = creation.session().context();
    update.mutable_update_mask()->add_paths(absl::StrCat("context.", test.field));
    const auto updated = NewKinds().Try(About(kUuid, update));
    update.mutable_update_mask()->set_paths(0, "context");
    const auto replaced = NewKinds().Try(About(kUuid, update));
    for (const auto* decision : {&created, &updated, &replaced}) {
      EXPECT_EQ(decision->ok(), test.fits) << decision->status();
      if (decision->ok()) {
        EXPECT_TRUE(MessageDifferencer::Equals(
            (*decision)->session.context().fields().at(test.field), test.value));
        continue;
      }
      EXPECT_EQ(ReasonOf(decision->status()), v1::CONTEXT_VIOLATION);
      EXPECT_EQ(decision->status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(Violations(decision->status()),
                  ElementsAre(absl::StrCat("context.", test.field)));
      EXPECT_EQ(Metadata(decision->status(), "workflow"), "kinds");
      EXPECT_EQ(Metadata(decision->status(), "field"), absl::StrCat("context.", test.field));
    }
  }
}

TEST(Fields, AreShownWithoutWhatATerminalObeys) {
  v1::CreateSessionRequest creation = NewSession("kinds");
  creation.set_session_id(kUuid);
  auto& context = *creation.mutable_session()->mutable_context()->mutable_fields();
  context["must"] = StringValue("x");
  context["\x1b[2J\u009b"] = StringValue("x");
  const absl::Status refused = Life(Kinds(), kUuid).Try(Create(Kinds(), creation)).status();
  EXPECT_THAT(Violations(refused), ElementsAre("context.\\x1b[2J\\xc2\\x9b"));
}

TEST(Fields, ThatDoNotFitAreAllListed) {
  const auto decision = NewKinds().Try(Update(R"pb(
    session {
      context {
        fields {
          key: "flag"
          value { number_value: 1 }
        }
        fields {
          key: "list"
          value { number_value: 1 }
        }
        fields {
          key: "nope"
          value { number_value: 1 }
        }
      }
      references { key: "other" value: "1" }
    }
    update_mask { paths: "context" paths: "references" }
  )pb"));
  EXPECT_THAT(Violations(decision.status()),
              ElementsAre("context.flag", "context.list", "context.nope", "references.other"));
}

TEST(Fields, OfTheContextHave64KiBTogetherAsJson) {
  const auto with_object = [](std::size_t bytes) {
    v1::UpdateSessionRequest update;
    // {"must":"x","object":{"k":"…"}}
    const std::size_t around = std::string(R"({"must":"x","object":{"k":""}})").size();
    (*update.mutable_session()->mutable_context()->mutable_fields())["object"] =
        ObjectOf(std::string(bytes - around, 'y'));
    update.mutable_update_mask()->add_paths("context.object");
    return NewKinds().Try(About(kUuid, update));
  };
  EXPECT_TRUE(with_object(64 << 10).ok()) << with_object(64 << 10).status();
  const absl::Status over = with_object((64 << 10) + 1).status();
  EXPECT_EQ(ReasonOf(over), v1::CONTEXT_VIOLATION);
  EXPECT_THAT(Violations(over), ElementsAre("context"));
}

TEST(Fields, OfReferencesAreThoseTheWorkflowDeclares) {
  Life life("interview");
  life.Begin();
  v1::UpdateSessionRequest request;
  (*request.mutable_session()->mutable_references())["job_posting"] = "j1";
  request.mutable_update_mask()->add_paths("references.job_posting");
  life.Must(About(life.id, request));
  EXPECT_EQ(life.session().references().at("job_posting"), "j1");
  (*request.mutable_session()->mutable_references())["sibling"] = "s1";
  request.mutable_update_mask()->set_paths(0, "references");
  const absl::Status refused = life.Try(About(life.id, request)).status();
  EXPECT_EQ(ReasonOf(refused), v1::CONTEXT_VIOLATION);
  EXPECT_THAT(Violations(refused), ElementsAre("references.sibling"));
}

TEST(Fields, OfLabelsAre64AtMostHoweverTheyCome) {
  Life life("execution");
  life.Begin();
  for (int i = 0; i < 64; ++i) life.Must(SetLabel(life.id, absl::StrCat("l", i), "v"));
  const absl::Status over = life.Try(SetLabel(life.id, "one_more", "v")).status();
  EXPECT_EQ(ReasonOf(over), v1::CONTEXT_VIOLATION);
  EXPECT_THAT(Violations(over), ElementsAre("labels"));
  life.Must(SetLabel(life.id, "l0", "another value"));
}

TEST(Fields, RequiredFromAStageOnCannotBeTakenAwayThere) {
  Life life = NewKinds();
  const absl::Status early = life.Try(Update("update_mask { paths: 'context.must' }")).status();
  EXPECT_EQ(ReasonOf(early), v1::STAGE_FIELDS_MISSING);
  EXPECT_EQ(Metadata(early, "fields"), "context.must");
  const absl::Status missing = life.Try(Advance(kUuid, "second")).status();
  EXPECT_EQ(ReasonOf(missing), v1::STAGE_FIELDS_MISSING);
  EXPECT_EQ(Metadata(missing, "fields"), "context.later");
  EXPECT_EQ(Metadata(missing, "stage"), "second");
  life.Must(Update(R"pb(session {
                          context {
                            fields {
                              key: "later"
                              value { number_value: 0 }
                            }
                          }
                        }
                        update_mask { paths: 'context.later' })pb"));
  life.Must(Update("update_mask { paths: 'context.later' }"));  // Not needed yet.
  life.Must(Update(R"pb(session {
                          context {
                            fields {
                              key: "later"
                              value { number_value: 0 }
                            }
                          }
                        }
                        update_mask { paths: 'context.later' })pb"));
  life.Must(Advance(kUuid, "second"));
  EXPECT_EQ(ReasonOf(life.Try(Update("update_mask { paths: 'context' }")).status()),
            v1::STAGE_FIELDS_MISSING);
  life.Must(About<v1::PauseSessionRequest>(kUuid));
  const absl::Status paused = life.Try(Update("update_mask { paths: 'context' }")).status();
  EXPECT_EQ(Metadata(paused, "fields"), "context.must,context.later");
}

TEST(Fields, RequiredButBlankAreMissing) {
  Life life = NewKinds();
  const absl::Status blank = life.Try(Update(R"pb(session {
                                                    context {
                                                      fields {
                                                        key: "must"
                                                        value { string_value: "" }
                                                      }
                                                    }
                                                  }
                                                  update_mask { paths: 'context.must' })pb"))
                                 .status();
  EXPECT_EQ(ReasonOf(blank), v1::STAGE_FIELDS_MISSING);
}

TEST(Fields, MayBeMissingWhileCreating) {
  Life life(Kinds(), kUuid);
  v1::CreateSessionRequest request;
  request.set_session_id(kUuid);
  request.set_creating(true);
  life.Must(Create(life.workflow, request));
  life.Must(Update(R"pb(session { owner_id: "o" }
                        update_mask { paths: 'owner_id' })pb"));
  EXPECT_EQ(life.session().owner_id(), "o");
  EXPECT_EQ(ReasonOf(life.Try(About<v1::ActivateSessionRequest>(kUuid)).status()),
            v1::STAGE_FIELDS_MISSING);
  life.Must(Update(R"pb(session {
                          context {
                            fields {
                              key: "must"
                              value { string_value: "x" }
                            }
                          }
                        }
                        update_mask { paths: 'context' })pb"));
  life.Must(About<v1::ActivateSessionRequest>(kUuid));
}

TEST(Fields, OwnerIsFixedOnceASessionIsActive) {
  for (const char* situation : {"ACTIVE", "PAUSED", "failed, ACTIVE", "STOPPED"}) {
    const Life life = *Reach("ticket_export", situation, "upload");
    const auto decision = life.Try(Update(R"pb(session { owner_id: "thief" }
                                               update_mask { paths: 'owner_id' })pb"));
    EXPECT_EQ(ReasonOf(decision.status()), v1::SESSION_NOT_ACTIVE) << situation;
  }
}

// -----------------------------------------------------------------------------------------------
// counters

TEST(Counters, StayWithinTheirBoundsAndAreKnown) {
  Life life("interview");
  life.Begin();
  const std::string counter = "current_question_number";
  const auto refused = [&](const Command& command) {
    const absl::Status status = life.Try(command).status();
    EXPECT_EQ(ReasonOf(status), v1::CONTEXT_VIOLATION) << status;
    return Violations(status);
  };
  EXPECT_THAT(refused(Increment(life.id, counter, -1)),
              ElementsAre("counter_increments.current_question_number"));
  life.Must(Increment(life.id, counter, 2'147'483'647));
  EXPECT_THAT(refused(Increment(life.id, counter, 1)),
              ElementsAre("counter_increments.current_question_number"));
  EXPECT_THAT(refused(Increment(life.id, counter, 2'147'483'647)),
              ElementsAre("counter_increments.current_question_number"));
  life.Must(Increment(life.id, counter, -2'147'483'647));
  EXPECT_EQ(life.session().counters().at(counter), 0);
  EXPECT_THAT(refused(Increment(life.id, "total_tickets_generated", 1)),
              ElementsAre("counter_increments.total_tickets_generated"));
  EXPECT_THAT(refused(Increment(life.id, counter, -2'147'483'647 - 1)),
              ElementsAre("counter_increments.current_question_number"));
}

TEST(Counters, TellTheSumInTheEvent) {
  Life life("interview");
  life.Begin();
  life.Must(Increment(life.id, "current_question_number", 3));
  life.Must(Increment(life.id, "current_question_number", 4));
  EXPECT_EQ(
      life.events.back().changes().fields().at("counters.current_question_number").number_value(),
      7);
}

TEST(Counters, MoveTogetherWithTheFieldsOfTheSameUpdateOrNotAtAll) {
  Life life("interview");
  life.Begin();
  Command both = SetLabel(life.id, "team", "a");
  auto& request = std::get<v1::UpdateSessionRequest>(both.request);
  (*request.mutable_counter_increments())["current_question_number"] = -1;
  EXPECT_FALSE(life.Do(both).ok());
  EXPECT_EQ(life.session().labels_size(), 0);
  (*request.mutable_counter_increments())["current_question_number"] = 1;
  const auto decision = life.Do(both);
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision->events.size(), 1u);
  EXPECT_EQ(life.session().labels().at("team"), "a");
  EXPECT_EQ(life.session().counters().at("current_question_number"), 1);
}

// -----------------------------------------------------------------------------------------------
// masks

TEST(Mask, SetsReplacesAndRemovesWhatItNamesAndNothingElse) {
  Life life("ticket_export");
  life.Begin();
  life.Must(Update(R"pb(
    session {
      owner_display_name: "Two"
      hold: true
      labels { key: "a" value: "1" }
      labels { key: "b.c" value: "2" }
      labels { key: "ignored" value: "3" }
      context {
        fields {
          key: "site_name"
          value { string_value: "s" }
        }
      }
    }
    update_mask {
      paths: "owner_display_name"
      paths: "hold"
      paths: "labels.a"
      paths: "labels.`b.c`"
      paths: "context.site_name"
    }
  )pb"));
  EXPECT_EQ(life.session().owner_display_name(), "Two");
  EXPECT_TRUE(life.session().hold());
  EXPECT_EQ(life.session().labels_size(), 2);
  EXPECT_EQ(life.session().labels().at("b.c"), "2");
  EXPECT_EQ(life.session().owner_id(), "owner-1");
  EXPECT_EQ(life.session().context().fields().at("jira_project_key").string_value(), "KEY");
  const auto& changes = life.events.back().changes().fields();
  EXPECT_EQ(changes.size(), 5u);
  EXPECT_EQ(changes.at("labels.`b.c`").string_value(), "2");
  EXPECT_EQ(changes.at("hold").bool_value(), true);

  life.Must(Update("update_mask { paths: 'labels.`b.c`' paths: 'context.site_name' }"));
  EXPECT_EQ(life.session().labels_size(), 1);
  EXPECT_EQ(life.session().context().fields().count("site_name"), 0u);
  EXPECT_TRUE(life.events.back().changes().fields().at("labels.`b.c`").has_null_value());

  life.Must(Update(R"pb(session { labels { key: "only" value: "x" } }
                        update_mask { paths: 'labels' })pb"));
  EXPECT_EQ(life.session().labels_size(), 1);
  EXPECT_EQ(life.session().labels().at("only"), "x");
  life.Must(Update("update_mask { paths: 'labels' paths: 'hold' }"));
  EXPECT_EQ(life.session().labels_size(), 0);
  EXPECT_FALSE(life.session().hold());

  const auto replayed = Replay(life.events);
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*replayed, life.session()));
}

TEST(Mask, OfAStoppedSessionMixedWithAnythingElseIsRefusedWhole) {
  Life life = *Reach("ticket_export", "STOPPED", "upload");
  for (const char* path : {"context", "context.site_name", "owner_display_name", "references"}) {
    const Command mixed =
        Update(absl::StrCat("session { labels { key: 'a' value: '1' } } "
                            "update_mask { paths: 'labels.a' paths: '",
                            path, "' }"));
    EXPECT_EQ(ReasonOf(life.Do(mixed).status()), v1::SESSION_NOT_ACTIVE) << path;
    EXPECT_EQ(life.session().labels_size(), 0);
  }
}

// -----------------------------------------------------------------------------------------------
// hold, retention, completion

TEST(Hold, KeepsASessionFromBeingDeletedHoweverItIsAsked) {
  for (const char* situation : {"CREATING", "ACTIVE", "PAUSED", "STOPPED"}) {
    Life life = *Reach("ticket_export", situation, "site_info_collection");
    life.Must(SetHold(life.id, true));
    const bool over = std::string(situation) == "STOPPED" || std::string(situation) == "CREATING";
    EXPECT_EQ(ReasonOf(life.Try(Delete(life.id, false)).status()),
              over ? v1::HOLD_ACTIVE : v1::INVALID_TRANSITION)
        << situation;
    EXPECT_EQ(ReasonOf(life.Try(Delete(life.id, true)).status()), v1::HOLD_ACTIVE) << situation;
    life.Must(SetHold(life.id, false));
    EXPECT_TRUE(life.Try(Delete(life.id, true)).ok()) << situation;
  }
}

TEST(Retention, IsCountedFromTheEndFromTheDeletionAndAnewFromTheUndeletion) {
  const absl::Duration week = absl::Hours(24 * 7);
  Life life("ticket_export");
  life.Begin();
  EXPECT_FALSE(life.session().has_purge_time());
  life.now = kBegin + absl::Hours(10);
  life.Must(About<v1::StopSessionRequest>(life.id));
  EXPECT_EQ(FromProto(life.session().purge_time()), kBegin + absl::Hours(10) + week);
  life.now = kBegin + absl::Hours(20);
  life.Must(Delete(life.id, false));
  EXPECT_EQ(FromProto(life.session().delete_time()), kBegin + absl::Hours(20));
  EXPECT_EQ(FromProto(life.session().purge_time()), kBegin + absl::Hours(20) + week);
  life.now = kBegin + absl::Hours(30);
  life.Must(About<v1::UndeleteSessionRequest>(life.id));
  EXPECT_FALSE(life.session().has_delete_time());
  EXPECT_EQ(FromProto(life.session().purge_time()), kBegin + absl::Hours(30) + week);
}

TEST(Retention, IsNeverForExecutionsAndInterviews) {
  for (const char* name : {"execution", "interview"}) {
    Life life(name);
    life.Begin();
    life.Must(About<v1::StopSessionRequest>(life.id));
    EXPECT_FALSE(life.session().has_purge_time()) << name;
    life.Must(Delete(life.id, false));
    EXPECT_FALSE(life.session().has_purge_time()) << name;
    life.Must(About<v1::UndeleteSessionRequest>(life.id));
    EXPECT_FALSE(life.session().has_purge_time()) << name;
  }
}

TEST(Completion, SetsTheTimeAndStopsInTheSameDecision) {
  Life life("ticket_export");
  life.Begin();
  life.AdvanceTo("jira_export");
  life.now = kBegin + absl::Hours(5);
  const auto decision = life.Do(Advance(life.id, "completed"));
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->events.size(), 2u);
  EXPECT_EQ(FromProto(life.session().complete_time()), kBegin + absl::Hours(5));
  EXPECT_EQ(FromProto(life.session().purge_time()), kBegin + absl::Hours(5 + 24 * 7));
  EXPECT_EQ(decision->events[0].event_time().seconds(), decision->events[1].event_time().seconds());
}

TEST(Failure, KeepsStateAndStageAndSaysWhy) {
  for (const char* situation : {"ACTIVE", "PAUSED"}) {
    Life life = *Reach("ticket_export", situation, "processing");
    v1::FailSessionRequest request;
    request.set_reason("the site is gone");
    const absl::Time when = life.now;
    life.Must(About(life.id, request));
    EXPECT_EQ(Session::State_Name(life.session().state()), situation);
    EXPECT_EQ(life.session().stage(), "processing");
    EXPECT_EQ(life.session().status(), "failed");
    EXPECT_EQ(life.session().fail_reason(), "the site is gone");
    EXPECT_EQ(FromProto(life.session().fail_time()), when);
  }
}

TEST(Undeletion, BringsEverythingBackAsItWas) {
  for (const char* situation : {"STOPPED", "STOPPED, failed", "COMPLETED"}) {
    const std::string stage = std::string(situation) == "COMPLETED" ? "completed" : "processing";
    Life life = *Reach("ticket_export", situation, stage);
    Session before = life.session();
    life.Must(Delete(life.id, false));
    life.Must(About<v1::UndeleteSessionRequest>(life.id));
    Session after = life.session();
    for (Session* session : {&before, &after}) {
      session->clear_sequence();
      session->clear_revision();
      session->clear_update_time();
      session->clear_purge_time();
    }
    EXPECT_TRUE(MessageDifferencer::Equals(before, after)) << situation;
    Present(*life.workflow, life.now, &after);
    EXPECT_FALSE(after.recoverable());
  }
}

TEST(Presented, AreDisplayNameNextStageEtagAndRecoverable) {
  Life life("ticket_export");
  life.Begin();
  Session session = life.session();
  Present(*life.workflow, kBegin, &session);
  EXPECT_EQ(session.stage_display_name(), "Site information");
  EXPECT_EQ(session.next_stage(), "upload");
  EXPECT_EQ(session.etag(), "r1");
  EXPECT_TRUE(session.recoverable());
  EXPECT_EQ(PresentedUntil(session), kBegin + absl::Hours(24 * 7));
  Present(*life.workflow, kBegin + absl::Hours(24 * 7) - absl::Microseconds(1), &session);
  EXPECT_TRUE(session.recoverable());
  Present(*life.workflow, kBegin + absl::Hours(24 * 7), &session);
  EXPECT_FALSE(session.recoverable()) << "younger than the window";
  EXPECT_EQ(PresentedUntil(session), absl::InfiniteFuture());

  life.AdvanceTo("completed");
  session = life.session();
  Present(*life.workflow, kBegin, &session);
  EXPECT_EQ(session.next_stage(), "");
  EXPECT_EQ(session.stage_display_name(), "Completed");
  EXPECT_FALSE(session.recoverable());
}

// -----------------------------------------------------------------------------------------------
// the audit

TEST(Audit, SaysWhoWhyAndOnWhoseBehalf) {
  Life life("execution");
  life.Begin();
  EXPECT_EQ(life.events.back().trigger(), SessionEvent::API_CALL);
  EXPECT_EQ(life.events.back().actor(), "tester");
  v1::PauseSessionRequest request;
  request.set_actor("anna");
  request.set_reason("lunch");
  request.set_request_id("q1");
  life.Must(About(life.id, request));
  const SessionEvent& by_user = life.events.back();
  EXPECT_EQ(by_user.trigger(), SessionEvent::USER_ACTION);
  EXPECT_EQ(by_user.actor(), "anna");
  EXPECT_EQ(by_user.caller(), "tester");
  EXPECT_EQ(by_user.reason(), "lunch");
  EXPECT_EQ(by_user.request_id(), "q1");
  Command by_daemon = About<v1::StopSessionRequest>(life.id);
  by_daemon.by_timeout = true;
  by_daemon.caller = "system";
  life.Must(by_daemon);
  EXPECT_EQ(life.events.back().trigger(), SessionEvent::SYSTEM_TIMEOUT);
  EXPECT_EQ(life.events.back().actor(), "system");
}

TEST(Replay, RefusesEventsThatDoNotFollowEachOther) {
  Life life("ticket_export");
  life.Begin();
  life.AdvanceTo("review");
  ASSERT_TRUE(Replay(life.events).ok());
  for (std::size_t i = 0; i + 1 < life.events.size(); ++i) {
    auto missing = life.events;
    missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_FALSE(Replay(missing).ok()) << "without event " << i;
    auto swapped = life.events;
    std::swap(swapped[i], swapped[i + 1]);
    EXPECT_FALSE(Replay(swapped).ok()) << "swapped at " << i;
  }
  Life labelled("execution");
  labelled.Begin();
  for (const char* key : {"a", "b", "c"}) labelled.Must(SetLabel(labelled.id, key, "x"));
  labelled.events.erase(labelled.events.begin() + 2);
  EXPECT_FALSE(Replay(labelled.events).ok()) << "only the sequence tells";
  auto foreign = life.events;
  foreign[1].set_session_id(kExec);
  EXPECT_FALSE(Replay(foreign).ok());
  auto earlier = life.events;
  *earlier[2].mutable_event_time() = ToProto(kBegin - absl::Seconds(1));
  EXPECT_FALSE(Replay(earlier).ok());
}

// Draws commands that make sense now and then.
class Drawing {
 public:
  Drawing(uint64_t seed, std::string workflow) : random_(seed), workflow_(std::move(workflow)) {}

  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }

  Command Next(const Life& life) {
    const std::string& id = life.id;
    switch (Pick(14)) {
      case 0:
        return About<v1::ActivateSessionRequest>(id);
      case 1:
        return About<v1::PauseSessionRequest>(id);
      case 2:
      case 3:
        return About<v1::ResumeSessionRequest>(id);
      case 4:
        return Pick(4) == 0 ? About<v1::StopSessionRequest>(id) : SetHold(id, Pick(2) == 0);
      case 5: {
        v1::FailSessionRequest request;
        request.set_reason(Text());
        return Pick(3) == 0 ? About(id, request) : SetHold(id, false);
      }
      case 6:
        return Delete(id, Pick(3) == 0);
      case 7:
        return About<v1::UndeleteSessionRequest>(id);
      case 8:
      case 9: {
        const auto& stages = Stages().at(workflow_);
        const v1::Stage* next = life.workflow->NextStage(
            life.aggregate.session.has_value() ? life.session().stage() : "");
        const bool random = next == nullptr || Pick(4) == 0;
        if (!random) return Advance(id, next->name());
        return Advance(id, stages.empty() ? "x" : stages[Pick(static_cast<int>(stages.size()))]);
      }
      default:
        return About(id, DrawUpdate());
    }
  }

  absl::Time Step(absl::Time now) {
    // Clocks step back, too.
    return now + absl::Microseconds(Pick(2'000'000) - 500'000);
  }

  v1::CreateSessionRequest DrawCreation(const std::string& id) {
    v1::CreateSessionRequest request = NewSession(workflow_);
    request.set_session_id(id);
    request.set_creating(Pick(2) == 0);
    request.mutable_session()->set_hold(Pick(8) == 0);
    *request.mutable_session()->mutable_labels() = DrawUpdate().session().labels();
    if (workflow_ == "interview" && Pick(2) == 0)
      (*request.mutable_session()->mutable_references())["job_posting"] = Text();
    if (workflow_ == "ticket_export" && Pick(4) != 0) {
      (*request.mutable_session()->mutable_context()->mutable_fields())["jira_project_key"] =
          StringValue(Text());
    }
    return request;
  }

 private:
  std::string Text() {
    static const char* const kTexts[] = {"a", "", "ä \"quoted\" \\ \n", "10", "null", "{}",
                                         "`", "."};
    return kTexts[Pick(std::size(kTexts))];
  }

  v1::UpdateSessionRequest DrawUpdate() {
    v1::UpdateSessionRequest request;
    Session& session = *request.mutable_session();
    auto& mask = *request.mutable_update_mask();
    session.set_owner_id(Text());
    session.set_owner_display_name(Text());
    session.set_hold(Pick(8) == 0);
    for (const char* key : {"a", "b.c", "d"}) {
      if (Pick(2) == 0) (*session.mutable_labels())[key] = Text();
    }
    auto& context = *session.mutable_context()->mutable_fields();
    if (Pick(2) == 0) context["site_name"] = StringValue(Text());
    if (Pick(2) == 0) context["jira_project_key"] = StringValue(Text());
    if (Pick(4) == 0) context["llm_provider_choice"] = StringValue("openai");
    if (Pick(2) == 0) (*session.mutable_references())["job_posting"] = Text();
    static const char* const kPaths[] = {
        "owner_id", "owner_display_name", "hold",   "labels.a",          "labels.`b.c`",
        "labels.d", "context.site_name",  "labels", "references",        "references.job_posting",
        "context",  "labels.`d`",         "x.y",    "context.unheard_of"};
    const int paths = Pick(4);
    for (int i = 0; i < paths; ++i) mask.add_paths(kPaths[Pick(std::size(kPaths))]);
    const std::string counter = CounterOf(workflow_);
    if (!counter.empty() && Pick(2) == 0)
      (*request.mutable_counter_increments())[counter] = Pick(9) - 4;
    return request;
  }

  std::mt19937_64 random_;
  const std::string workflow_;
};

TEST(Audit, RebuildsASessionWhateverHappenedToIt) {
  const uint64_t seed = TestSeed();
  int accepted = 0;
  std::set<SessionEvent::Type> types;
  for (int round = 0; round < 300; ++round) {
    for (const auto& [name, stages] : Stages()) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", round, ", workflow ", name));
      Drawing drawing(seed + static_cast<uint64_t>(round), name);
      Life life(name);
      const auto born = life.Do(Create(life.workflow, drawing.DrawCreation(life.id)));
      if (!born.ok()) continue;
      for (int step = 0; step < 60; ++step) {
        life.now = drawing.Step(life.now);
        const auto decision = life.Do(drawing.Next(life));
        if (!decision.ok()) {
          EXPECT_NE(ReasonOf(decision.status()), v1::ERROR_REASON_UNSPECIFIED) << decision.status();
          continue;
        }
        accepted += 1;
        ASSERT_GE(decision->events.size(), 1u);
        ASSERT_LE(decision->events.size(), 4u);
        const Session& session = life.session();
        ASSERT_EQ(session.status(),
                  ExpectedStatus(name, Session::State_Name(session.state()), session.stage(), "",
                                 session.has_fail_time(), session.has_complete_time()));
        const auto replayed = Replay(life.events);
        ASSERT_TRUE(replayed.ok()) << replayed.status();
        std::string difference;
        MessageDifferencer differencer;
        differencer.ReportDifferencesToString(&difference);
        ASSERT_TRUE(differencer.Compare(*replayed, session)) << difference;
      }
      // Independent of Replay.
      for (std::size_t i = 0; i < life.events.size(); ++i) {
        const SessionEvent& event = life.events[i];
        types.insert(event.type());
        EXPECT_EQ(event.sequence(), static_cast<int>(i) + 1);
        if (i == 0) continue;
        const SessionEvent& before = life.events[i - 1];
        EXPECT_EQ(event.old_state(), before.new_state());
        EXPECT_EQ(event.old_stage(), before.new_stage());
        EXPECT_EQ(event.old_status(), before.new_status());
        EXPECT_GE(FromProto(event.event_time()), FromProto(before.event_time()));
      }
    }
  }
  EXPECT_GT(accepted, 5000);
  EXPECT_EQ(types.size(), 11u) << "every kind of event should have been drawn";
}

}  // namespace
}  // namespace sessiond
