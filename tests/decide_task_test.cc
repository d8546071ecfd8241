// Tasks, exhaustively: wherever a session stands, whatever became of its task, what each call
// answers, against a table written by hand.
#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "state_machine/present.h"
#include "state_machine/timestamps.h"
#include "tests/life.h"

namespace sessiond {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using v1::Session;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionTask;

constexpr char kRun[] = "0192f3c4-0000-7000-8000-000000000001";
constexpr char kNextRun[] = "0192f3c4-0000-7000-8000-000000000002";
constexpr char kForeign[] = "0192f3c4-ffff-7fff-8fff-ffffffffffff";

// Where tasks run: every stage that has some, of a built-in workflow and of one that is only data.
struct Place {
  const char *workflow, *stage, *type, *next;
  int max_retries;
};
constexpr Place kPlaces[] = {
    {"ticket_export", "processing", "processing", "review", 3},
    {"ticket_export", "jira_export", "export", "completed", 3},
    {"ticket_export", "jira_export", "adf_validation", "completed", 3},
    {"onboarding", "paperwork", "background_check", "provisioning", 2},
    {"onboarding", "provisioning", "background_check", "training", 2},
    {"onboarding", "provisioning", "account_setup", "training", 2},
};

// A session of the place's workflow, at its stage, with every field that any stage needs.
Life At(const Place& place) {
  Life life(place.workflow);
  life.Begin();
  life.AdvanceTo(place.stage);
  return life;
}

// Runs and fails the task once more; the session may fail with it.
void FailOnce(Life& life, const Place& place) {
  if (life.task().status() != SessionTask::RUNNING) {
    life.Must(life.task().status() == SessionTask::FAILED ? RetryTask(life.id)
                                                          : StartTask(life.id, place.type));
  }
  // Informed, and nothing of it blocks.
  const SessionError info = AnError(SessionError::INFO);
  life.Must(FailTask(life.id, life.task().task_id(), &info));
}

// A session there in this situation, with a task in this one; nothing where that cannot be.
std::optional<Life> Reach(const Place& place, const std::string& situation,
                          const std::string& task) {
  Life life = At(place);
  const bool paused = absl::StrContains(situation, "PAUSED");
  const bool out_of_retries = task == "FAILED for good";
  const bool over = situation == "STOPPED" || situation == "DELETED";
  if (task == "RUNNING" && (over || absl::StrContains(situation, "failed"))) return std::nullopt;
  if (out_of_retries && !absl::StrContains(situation, "failed") && !over) return std::nullopt;

  if (task != "none") life.Must(StartTask(life.id, place.type, kRun));
  if (task == "COMPLETED") life.Must(CompleteTask(life.id, kRun));
  if (task == "CANCELLED") life.Must(CancelTask(life.id, kRun));
  if (task == "FAILED") FailOnce(life, place);
  for (int i = 1; out_of_retries && i < place.max_retries; ++i) FailOnce(life, place);
  if (out_of_retries) life.Must(RetryTask(life.id));  // the last of them
  if (paused) life.Must(About<v1::PauseSessionRequest>(life.id));
  if (out_of_retries) FailOnce(life, place);
  if (absl::StrContains(situation, "failed") && !out_of_retries)
    life.Must(About<v1::FailSessionRequest>(life.id));
  if (over) life.Must(About<v1::StopSessionRequest>(life.id));
  if (situation == "DELETED") life.Must(Delete(life.id, false));
  return life;
}

// -----------------------------------------------------------------------------------------------
// the table

struct Row {
  const char *situation, *task;
  const char *start, *progress, *heartbeat, *complete, *fail, *cancel, *retry, *stale;
  const char *recover, *advance, *stop, *fail_session, *remove;
};

constexpr char kShut[] = "!SESSION_NOT_ACTIVE";
constexpr char kNoTask[] = "!TASK_NOT_FOUND";
constexpr char kBusy[] = "!TASK_ALREADY_RUNNING";
constexpr char kDone[] = "!TASK_COMPLETED";
constexpr char kIdle[] = "!TASK_NOT_RUNNING";
constexpr char kStale[] = "!STALE_TASK";
constexpr char kLimit[] = "!RETRY_LIMIT_EXCEEDED";
constexpr char kMove[] = "!INVALID_TRANSITION";
constexpr char kLost[] = "!NOT_RECOVERABLE";
constexpr char kGone[] = "!DELETED";

// clang-format off
constexpr Row kRows[] = {
  // situation        task               start           progress           heartbeat  complete          fail           cancel            retry           stale    recover      advance     stop                      fail session              delete by force
  {"ACTIVE",         "none",            "TASK_STARTED", kNoTask,           kNoTask,   kNoTask,          kNoTask,       kNoTask,          kNoTask,        kNoTask, "RECOVERED", "ADVANCED", "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"ACTIVE",         "RUNNING",         kBusy,          "TASK_PROGRESSED", "nothing", "TASK_COMPLETED", "TASK_FAILED", "TASK_CANCELLED", kBusy,          kStale,  "RECOVERED", kBusy,      "TASK_CANCELLED+STOPPED", "TASK_CANCELLED+FAILED",  "TASK_CANCELLED+STOPPED+DELETED"},
  {"ACTIVE",         "COMPLETED",       "TASK_STARTED", kDone,             kDone,     kDone,            kDone,         kDone,            kDone,          kStale,  "RECOVERED", "ADVANCED", "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"ACTIVE",         "FAILED",          "!TASK_FAILED", kIdle,             kIdle,     kIdle,            kIdle,         kIdle,            "TASK_RETRIED", kStale,  "RECOVERED", "ADVANCED", "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"ACTIVE",         "CANCELLED",       "TASK_STARTED", kIdle,             kIdle,     kIdle,            kIdle,         kIdle,            kIdle,          kStale,  "RECOVERED", "ADVANCED", "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"PAUSED",         "none",            kShut,          kNoTask,           kNoTask,   kNoTask,          kNoTask,       kNoTask,          kNoTask,        kNoTask, "RECOVERED", kShut,      "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"PAUSED",         "RUNNING",         kShut,          "TASK_PROGRESSED", "nothing", "TASK_COMPLETED", "TASK_FAILED", "TASK_CANCELLED", kBusy,          kStale,  "RECOVERED", kShut,      "TASK_CANCELLED+STOPPED", "TASK_CANCELLED+FAILED",  "TASK_CANCELLED+STOPPED+DELETED"},
  {"PAUSED",         "COMPLETED",       kShut,          kDone,             kDone,     kDone,            kDone,         kDone,            kDone,          kStale,  "RECOVERED", kShut,      "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"PAUSED",         "FAILED",          kShut,          kIdle,             kIdle,     kIdle,            kIdle,         kIdle,            kShut,          kStale,  "RECOVERED", kShut,      "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"PAUSED",         "CANCELLED",       kShut,          kIdle,             kIdle,     kIdle,            kIdle,         kIdle,            kIdle,          kStale,  "RECOVERED", kShut,      "STOPPED",                "FAILED",                 "STOPPED+DELETED"},
  {"failed, ACTIVE", "none",            kShut,          kNoTask,           kNoTask,   kNoTask,          kNoTask,       kNoTask,          kNoTask,        kNoTask, "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, ACTIVE", "COMPLETED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kDone,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, ACTIVE", "FAILED",          kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kShut,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, ACTIVE", "FAILED for good", kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kLimit,         kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, ACTIVE", "CANCELLED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kIdle,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, PAUSED", "none",            kShut,          kNoTask,           kNoTask,   kNoTask,          kNoTask,       kNoTask,          kNoTask,        kNoTask, "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, PAUSED", "COMPLETED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kDone,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, PAUSED", "FAILED",          kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kShut,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, PAUSED", "FAILED for good", kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kLimit,         kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"failed, PAUSED", "CANCELLED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kIdle,          kStale,  "RECOVERED", kShut,      "STOPPED",                kMove,                    "STOPPED+DELETED"},
  {"STOPPED",        "none",            kShut,          kNoTask,           kNoTask,   kNoTask,          kNoTask,       kNoTask,          kNoTask,        kNoTask, kLost,       kShut,      kMove,                    kMove,                    "DELETED"},
  {"STOPPED",        "COMPLETED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kDone,          kStale,  kLost,       kShut,      kMove,                    kMove,                    "DELETED"},
  {"STOPPED",        "FAILED",          kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kShut,          kStale,  kLost,       kShut,      kMove,                    kMove,                    "DELETED"},
  {"STOPPED",        "FAILED for good", kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kLimit,         kStale,  kLost,       kShut,      kMove,                    kMove,                    "DELETED"},
  {"STOPPED",        "CANCELLED",       kShut,          kShut,             kShut,     kShut,            kShut,         kShut,            kIdle,          kStale,  kLost,       kShut,      kMove,                    kMove,                    "DELETED"},
  {"DELETED",        "none",            kGone,          kGone,             kGone,     kGone,            kGone,         kGone,            kGone,          kGone,   kGone,       kGone,      kGone,                    kGone,                    kGone},
  {"DELETED",        "COMPLETED",       kGone,          kGone,             kGone,     kGone,            kGone,         kGone,            kGone,          kGone,   kGone,       kGone,      kGone,                    kGone,                    kGone},
  {"DELETED",        "FAILED",          kGone,          kGone,             kGone,     kGone,            kGone,         kGone,            kGone,          kGone,   kGone,       kGone,      kGone,                    kGone,                    kGone},
  {"DELETED",        "FAILED for good", kGone,          kGone,             kGone,     kGone,            kGone,         kGone,            kGone,          kGone,   kGone,       kGone,      kGone,                    kGone,                    kGone},
  {"DELETED",        "CANCELLED",       kGone,          kGone,             kGone,     kGone,            kGone,         kGone,            kGone,          kGone,   kGone,       kGone,      kGone,                    kGone,                    kGone},
};
// clang-format on

// What the task is after the events, if it was `before`.
SessionTask::Status TaskAfter(SessionTask::Status before, const std::string& events) {
  if (absl::StrContains(events, "TASK_STARTED") || absl::StrContains(events, "TASK_RETRIED"))
    return SessionTask::RUNNING;
  if (absl::StrContains(events, "TASK_COMPLETED")) return SessionTask::COMPLETED;
  if (absl::StrContains(events, "TASK_FAILED")) return SessionTask::FAILED;
  if (absl::StrContains(events, "TASK_CANCELLED")) return SessionTask::CANCELLED;
  return before;
}

// The status of every fact: each begins with the one that the fact before it ended with.
void ExpectStatuses(const Life& life, const Decision& decision) {
  std::string status = life.session().status();
  for (const SessionEvent& event : decision.events) {
    EXPECT_EQ(event.old_status(), status);
    status = event.new_status();
  }
  const Session& session = decision.session;
  EXPECT_EQ(session.status(), status);
  if (session.workflow() != "ticket_export") return;
  const bool runs = session.current_task().status() == SessionTask::RUNNING;
  EXPECT_EQ(status, ExpectedStatus("ticket_export", Session::State_Name(session.state()),
                                   session.stage(), runs ? session.current_task().task_type() : "",
                                   session.has_fail_time(), session.has_complete_time()));
}

TEST(Tasks, EverySituationAnswersEveryCallAsTheTableSays) {
  std::set<std::pair<std::string, std::string>> reached;
  for (const Place& place : kPlaces) {
    for (const Row& row : kRows) {
      const std::optional<Life> life = Reach(place, row.situation, row.task);
      ASSERT_TRUE(life.has_value()) << row.situation << ", " << row.task;
      reached.emplace(row.situation, row.task);
      const std::string& id = life->id;
      const SessionTask& task = life->task();
      const std::string run = std::string(row.task) == "none" ? kRun : task.task_id();
      const std::pair<Command, std::string> calls[] = {
          {StartTask(id, place.type), row.start},
          {Progress(id, run, 0.5), row.progress},
          {Heartbeat(id, run), row.heartbeat},
          {CompleteTask(id, run), row.complete},
          {FailTask(id, run), row.fail},
          {CancelTask(id, run), row.cancel},
          {RetryTask(id), row.retry},
          {Progress(id, kForeign, 0.5), row.stale},
          {Heartbeat(id, kForeign), row.stale},
          {CompleteTask(id, kForeign), row.stale},
          {CompleteTask(id, kForeign, "no such stage"), row.stale},
          {FailTask(id, kForeign), row.stale},
          {CancelTask(id, kForeign), row.stale},
          {About<v1::RecoverSessionRequest>(id), row.recover},
          {Advance(id, place.next), row.advance},
          {About<v1::StopSessionRequest>(id), row.stop},
          {About<v1::FailSessionRequest>(id), row.fail_session},
          {Delete(id, /*force=*/true), row.remove},
      };
      for (std::size_t i = 0; i < std::size(calls); ++i) {
        SCOPED_TRACE(absl::StrCat(place.workflow, " at ", place.stage, ", ", place.type, ": ",
                                  row.situation, ", ", row.task, ", call ", i + 1));
        const bool ends = life->workflow->IsLastStage(place.next);
        const std::string expected = ends && calls[i].second == "ADVANCED"
                                         ? std::string("ADVANCED+COMPLETED")
                                         : calls[i].second;
        const auto decision = life->Try(calls[i].first);
        EXPECT_EQ(Facts(decision), expected) << decision.status();
        if (!decision.ok()) continue;
        EXPECT_EQ(decision->session.current_task().status(), TaskAfter(task.status(), expected));
        EXPECT_EQ(decision->task_changed,
                  absl::StrContains(expected, "TASK_") || expected == "nothing" ||
                      (expected == "RECOVERED" && task.status() == SessionTask::FAILED));
        ExpectStatuses(*life, *decision);
      }
    }
  }
  EXPECT_EQ(reached.size(), std::size(kRows));
}

TEST(Tasks, AreUnknownToWorkflowsWithoutTypesOfThem) {
  for (const char* name : {"execution", "interview"}) {
    Life life(name);
    life.Begin();
    const auto started = life.Try(StartTask(life.id, "processing"));
    EXPECT_EQ(Facts(started), "!INVALID_FIELD") << name;
    EXPECT_THAT(std::string(started.status().message()), HasSubstr("it has none"));
    for (const Command& report :
         {Heartbeat(life.id, kRun), CompleteTask(life.id, kRun), FailTask(life.id, kRun),
          CancelTask(life.id, kRun), RetryTask(life.id, kRun)}) {
      EXPECT_EQ(Facts(life.Try(report)), kNoTask) << name;
    }
  }
}

TEST(Tasks, OfASessionThatNeverWasOrIsArchivedSayWhy) {
  Life life("ticket_export");
  for (const char* reason : {"!NEVER_EXISTED", "!ARCHIVED"}) {
    for (const Command& command :
         {StartTask(life.id, "processing"), Progress(life.id, kRun, 1), CompleteTask(life.id, kRun),
          FailTask(life.id, kRun), CancelTask(life.id, kRun), RetryTask(life.id),
          About<v1::RecoverSessionRequest>(life.id)}) {
      EXPECT_EQ(Facts(life.Try(command)), reason);
    }
    life.aggregate.tombstone = Tombstone{.archive_time = kBegin};
  }
}

TEST(Tasks, OfASessionBeingCreatedAreNone) {
  Life life("ticket_export");
  life.Begin(/*creating=*/true);
  EXPECT_EQ(Facts(life.Try(StartTask(life.id, "processing"))), kShut);
  EXPECT_EQ(Facts(life.Try(About<v1::RecoverSessionRequest>(life.id))), kLost);
  EXPECT_EQ(Facts(life.Try(CompleteTask(life.id, kRun))), kNoTask);
}

// -----------------------------------------------------------------------------------------------
// where they run

TEST(Stages, OfATaskAreThoseOfItsTypeAndNoOthers) {
  // `processing` runs in its own stage, the others in jira_export.
  const auto runs = [](const std::string& type, const std::string& stage) {
    return type == "processing" ? stage == "processing" : stage == "jira_export";
  };
  const auto& stages = Stages().at("ticket_export");
  for (std::size_t at = 0; at + 1 < stages.size(); ++at) {
    Life life("ticket_export");
    life.Begin();
    life.AdvanceTo(stages[at]);
    for (const char* type : {"processing", "export", "adf_validation"}) {
      EXPECT_EQ(Facts(life.Try(StartTask(life.id, type))),
                runs(type, stages[at]) ? "TASK_STARTED" : kMove)
          << type << " at " << stages[at];
      // With the stage it is moved to: the next one, and one where the task runs.
      for (std::size_t to = 0; to < stages.size(); ++to) {
        const bool fits = to == at + 1 && runs(type, stages[to]);
        EXPECT_EQ(Facts(life.Try(StartTask(life.id, type, "", stages[to]))),
                  fits ? "ADVANCED+TASK_STARTED" : kMove)
            << type << " from " << stages[at] << " to " << stages[to];
      }
    }
    EXPECT_EQ(Facts(life.Try(StartTask(life.id, "baking"))), "!INVALID_FIELD");
    EXPECT_EQ(Facts(life.Try(StartTask(life.id, "baking", "", "nowhere"))), "!INVALID_FIELD");
  }
}

TEST(Stages, OfARetryAreThoseOfItsTypeToo) {
  const Place place = kPlaces[0];
  Life life = *Reach(place, "ACTIVE", "FAILED");
  life.Must(Advance(life.id, "review"));
  const auto refused = life.Try(RetryTask(life.id));
  EXPECT_EQ(Facts(refused), kMove);
  EXPECT_THAT(std::string(refused.status().message()),
              StartsWith("Cannot transition from review to processing"));
  // Where another type runs, it replaces the failed one, and counts anew.
  life.AdvanceTo("jira_export");
  life.Must(StartTask(life.id, "export"));
  EXPECT_EQ(life.task().retry_count(), 0);
  EXPECT_EQ(life.task().task_type(), "export");
}

TEST(Stages, AreEnteredWithTheTaskOrNotAtAll) {
  // The key that jira_export needs is missing.
  Life life("ticket_export");
  v1::CreateSessionRequest request = NewSession("ticket_export");
  request.set_session_id(life.id);
  life.Must(Create(life.workflow, request));
  life.AdvanceTo("review");
  const auto missing = life.Try(StartTask(life.id, "export", "", "jira_export"));
  EXPECT_EQ(Facts(missing), "!STAGE_FIELDS_MISSING");
  EXPECT_EQ(Metadata(missing.status(), "fields"), "context.jira_project_key");

  v1::UpdateSessionRequest update;
  (*update.mutable_session()->mutable_context()->mutable_fields())["jira_project_key"] =
      StringValue("KEY");
  update.mutable_update_mask()->add_paths("context.jira_project_key");
  life.Must(About(life.id, update));
  life.Must(RecordError(life.id, AnError(SessionError::BLOCKING)));
  const auto blocked = life.Try(StartTask(life.id, "export", "", "jira_export"));
  EXPECT_EQ(Facts(blocked), "!BLOCKING_ERRORS");

  life.Must(ResolveError(life.id, life.aggregate.errors.begin()->first));
  const auto started = life.Do(StartTask(life.id, "export", kRun, "jira_export"));
  ASSERT_EQ(Facts(started), "ADVANCED+TASK_STARTED");
  EXPECT_EQ(started->events[0].new_stage(), "jira_export");
  EXPECT_EQ(started->events[0].new_status(), "active");
  EXPECT_EQ(started->events[1].old_stage(), "jira_export");
  EXPECT_EQ(started->events[1].new_status(), "exporting");
  EXPECT_EQ(life.session().status(), "exporting");
}

TEST(Stages, AreEnteredWithTheCompletionOrNotAtAll) {
  for (const char* situation : {"ACTIVE", "PAUSED"}) {
    Life life = *Reach(kPlaces[0], situation, "RUNNING");
    for (const char* wrong : {"processing", "upload", "jira_export", "completed", "nowhere"}) {
      EXPECT_EQ(Facts(life.Try(CompleteTask(life.id, kRun, wrong))), kMove) << wrong;
    }
    life.Must(RecordError(life.id, AnError(SessionError::BLOCKING)));
    EXPECT_EQ(Facts(life.Try(CompleteTask(life.id, kRun, "review"))), "!BLOCKING_ERRORS");
    EXPECT_EQ(Facts(life.Try(CompleteTask(life.id, kRun))), "TASK_COMPLETED") << "without a stage";
    life.Must(ResolveError(life.id, life.aggregate.errors.begin()->first));
    EXPECT_EQ(Facts(life.Do(CompleteTask(life.id, kRun, "review"))), "TASK_COMPLETED+ADVANCED");
    EXPECT_EQ(life.session().stage(), "review");
    EXPECT_EQ(Session::State_Name(life.session().state()), situation) << "a pause stays one";
  }
}

TEST(Stages, TheLastOfThemCompletesTheSessionWithItsTask) {
  for (const char* situation : {"ACTIVE", "PAUSED"}) {
    Life life = *Reach(kPlaces[1], situation, "RUNNING");
    EXPECT_EQ(life.session().status(), "exporting");
    const auto completed = life.Do(CompleteTask(life.id, kRun, "completed"));
    ASSERT_EQ(Facts(completed), "TASK_COMPLETED+ADVANCED+COMPLETED");
    EXPECT_EQ(completed->events[0].new_status(), "active");
    EXPECT_EQ(completed->events[2].new_status(), "completed");
    EXPECT_EQ(life.session().state(), Session::STOPPED);
    EXPECT_TRUE(life.session().has_complete_time());
    EXPECT_TRUE(life.session().has_purge_time());
    EXPECT_EQ(life.task().status(), SessionTask::COMPLETED);
  }
}

TEST(Status, IsExportingExactlyWhileAnExportTaskRuns) {
  Life life = At(kPlaces[1]);
  const auto status = [&] { return life.session().status(); };
  EXPECT_EQ(status(), "active");
  life.Must(StartTask(life.id, "adf_validation", kRun));
  EXPECT_EQ(status(), "active");
  life.Must(CompleteTask(life.id, kRun));
  life.Must(StartTask(life.id, "export", kNextRun));
  EXPECT_EQ(status(), "exporting");
  life.Must(About<v1::PauseSessionRequest>(life.id));
  EXPECT_EQ(status(), "exporting") << "pausing does not change it";
  life.Must(Progress(life.id, kNextRun, 0.1));
  EXPECT_EQ(status(), "exporting");
  life.Must(FailTask(life.id, kNextRun));
  EXPECT_EQ(status(), "active");
  life.Must(About<v1::ResumeSessionRequest>(life.id));
  life.Must(RetryTask(life.id));
  EXPECT_EQ(status(), "exporting");
  life.Must(About<v1::FailSessionRequest>(life.id));
  EXPECT_EQ(status(), "failed");
}

// -----------------------------------------------------------------------------------------------
// retries

TEST(Retries, AreThreeAttemptsInAllAndTheLastFailsTheSessionAndSaysSo) {
  for (const Place& place : kPlaces) {
    for (const char* situation : {"ACTIVE", "PAUSED"}) {
      Life life = At(place);
      life.Must(StartTask(life.id, place.type));
      for (int attempt = 1; attempt < place.max_retries; ++attempt) {
        const std::string run = life.task().task_id();
        ASSERT_EQ(Facts(life.Do(FailTask(life.id, run))), "TASK_FAILED");
        EXPECT_EQ(life.task().retry_count(), attempt);
        EXPECT_FALSE(life.session().has_fail_time());
        ASSERT_EQ(Facts(life.Do(RetryTask(life.id))), "TASK_RETRIED");
        EXPECT_EQ(life.task().retry_count(), attempt);
        EXPECT_NE(life.task().task_id(), run) << "a run of its own";
      }
      if (situation == std::string("PAUSED")) life.Must(About<v1::PauseSessionRequest>(life.id));
      const auto last = life.Do(FailTask(life.id, life.task().task_id()));
      ASSERT_EQ(Facts(last), "TASK_FAILED+ERROR_RECORDED+FAILED") << place.workflow;
      ASSERT_EQ(last->errors.size(), 1u);
      const SessionError& error = last->errors[0];
      EXPECT_EQ(error.severity(), SessionError::BLOCKING);
      EXPECT_EQ(error.category(), SessionError::ADMIN_REQUIRED);
      EXPECT_EQ(error.operation_stage(), place.stage);
      EXPECT_FALSE(error.user_message().empty());
      EXPECT_TRUE(life.session().has_blocking_errors());
      EXPECT_EQ(life.aggregate.blocking.count, 1);
      EXPECT_TRUE(life.session().has_fail_time());
      EXPECT_FALSE(life.session().fail_reason().empty());
      EXPECT_EQ(Session::State_Name(life.session().state()), situation);
      EXPECT_EQ(life.session().stage(), place.stage);

      const auto fourth = life.Try(RetryTask(life.id));
      EXPECT_EQ(Facts(fourth), kLimit);
      EXPECT_THAT(
          std::string(fourth.status().message()),
          AllOf(StartsWith("Maximum retry attempts exceeded"), HasSubstr("RecoverSession")));
      EXPECT_EQ(Metadata(fourth.status(), "category"), "ADMIN_REQUIRED");
      EXPECT_EQ(Metadata(fourth.status(), "retry_count"), absl::StrCat(place.max_retries));
      EXPECT_EQ(Metadata(fourth.status(), "max_retries"), absl::StrCat(place.max_retries));
      EXPECT_EQ(Metadata(fourth.status(), "task_id"), life.task().task_id());
    }
  }
}

TEST(Retries, TheLastFailureRecordsTheErrorThatCameWithItAndNoOther) {
  Life life = At(kPlaces[0]);
  FailOnce(life, kPlaces[0]);
  FailOnce(life, kPlaces[0]);
  life.Must(RetryTask(life.id));
  const SessionError info = AnError(SessionError::INFO);
  const auto last = life.Do(FailTask(life.id, life.task().task_id(), &info));
  ASSERT_EQ(Facts(last), "TASK_FAILED+ERROR_RECORDED+FAILED");
  ASSERT_EQ(last->errors.size(), 1u);
  EXPECT_EQ(last->errors[0].severity(), SessionError::INFO);
  EXPECT_EQ(last->errors[0].user_message(), info.user_message());
  EXPECT_FALSE(life.session().has_blocking_errors());
  EXPECT_EQ(life.aggregate.errors.size(), 3u);
}

TEST(Retries, AreGivenBackByARecoveryAndErrorsStay) {
  Life life = *Reach(kPlaces[0], "failed, PAUSED", "FAILED for good");
  life.Must(RecordError(life.id, AnError(SessionError::BLOCKING)));
  const std::size_t errors = life.aggregate.errors.size();
  ASSERT_EQ(Facts(life.Do(About<v1::RecoverSessionRequest>(life.id))), "RECOVERED");
  EXPECT_EQ(life.session().state(), Session::ACTIVE);
  EXPECT_EQ(life.session().stage(), "processing");
  EXPECT_FALSE(life.session().has_fail_time());
  EXPECT_EQ(life.session().fail_reason(), "");
  EXPECT_EQ(life.session().status(), "active");
  EXPECT_EQ(life.task().status(), SessionTask::FAILED);
  EXPECT_EQ(life.task().retry_count(), 0);
  EXPECT_EQ(life.aggregate.errors.size(), errors);
  EXPECT_TRUE(life.session().has_blocking_errors());
  ASSERT_EQ(Facts(life.Do(RetryTask(life.id))), "TASK_RETRIED");
  EXPECT_EQ(life.task().retry_count(), 0);
  EXPECT_EQ(life.task().max_retries(), 3);
}

TEST(Retries, KeepTheTimeoutAndBringANewRun) {
  Life life = At(kPlaces[0]);
  Command start = StartTask(life.id, "processing", kRun);
  std::get<v1::StartTaskRequest>(start.request).mutable_heartbeat_timeout()->set_seconds(30);
  life.Must(start);
  life.Must(Progress(life.id, kRun, 0.5));
  life.Must(FailTask(life.id, kRun));
  EXPECT_TRUE(life.task().has_failure_context());
  life.Must(RetryTask(life.id, kNextRun));
  const SessionTask& run = life.task();
  EXPECT_EQ(run.task_id(), kNextRun);
  EXPECT_EQ(run.task_type(), "processing");
  EXPECT_EQ(run.heartbeat_timeout().seconds(), 30);
  EXPECT_EQ(run.start_time().seconds(), life.session().update_time().seconds());
  EXPECT_FALSE(run.has_progress() || run.has_failure_context() || run.has_fail_time());
}

TEST(TaskIds, AreNewWhoeverDrewThem) {
  Life life = At(kPlaces[0]);
  life.Must(StartTask(life.id, "processing", kRun));
  life.Must(CompleteTask(life.id, kRun));
  const auto again = life.Try(StartTask(life.id, "processing", kRun));
  EXPECT_EQ(Facts(again), "!INVALID_FIELD");
  EXPECT_EQ(Metadata(again.status(), "field"), "task_id");
  // One that was drawn is taken, too.
  life.Must(StartTask(life.id, "processing"));
  const std::string drawn = life.task().task_id();
  EXPECT_EQ(drawn.size(), 36u);
  life.Must(FailTask(life.id, drawn));
  EXPECT_EQ(Facts(life.Try(RetryTask(life.id, drawn))), "!INVALID_FIELD");
  EXPECT_EQ(Facts(life.Try(RetryTask(life.id, kRun))), "!INVALID_FIELD");
  life.Must(RetryTask(life.id, kNextRun));
  // Of the run that was replaced nothing is taken any more.
  EXPECT_EQ(Facts(life.Try(CompleteTask(life.id, drawn))), kStale);
  EXPECT_EQ(Metadata(life.Try(CompleteTask(life.id, drawn)).status(), "current_task_id"), kNextRun);
}

TEST(TaskIds, ThatWereImportedAreNotNewEither) {
  Life life("ticket_export");
  v1::ImportSessionsRequest request;
  request.mutable_session()->set_session_id(life.id);
  request.mutable_session()->set_workflow("ticket_export");
  request.mutable_session()->set_stage("processing");
  request.mutable_task()->set_task_type("processing");
  request.mutable_task()->set_task_id(kRun);
  request.mutable_task()->set_status(SessionTask::CANCELLED);
  request.mutable_task()->mutable_cancel_time()->set_seconds(1'700'000'000);
  life.Must(Import(life.workflow, request));
  // As the database would have it, which is asked for what earlier runs are known by.
  life.aggregate.used_ids.clear();
  EXPECT_EQ(Facts(life.Try(StartTask(life.id, "processing", kRun))), "!INVALID_FIELD");
}

// -----------------------------------------------------------------------------------------------
// progress and silence

TEST(Heartbeat, WritesNoEventAndDisturbsNobody) {
  Life life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  const Session before = life.session();
  life.now += absl::Minutes(5);
  const absl::Time when = life.now;
  const auto beat = life.Do(Heartbeat(life.id, kRun));
  ASSERT_TRUE(beat.ok()) << beat.status();
  EXPECT_TRUE(beat->events.empty());
  EXPECT_TRUE(beat->task_changed);
  EXPECT_EQ(FromProto(life.task().heartbeat_time()), when);
  Session after = life.session();
  *after.mutable_current_task()->mutable_heartbeat_time() = before.current_task().heartbeat_time();
  EXPECT_TRUE(MessageDifferencer::Equals(before, after));
}

// Another daemon may have heard it, whose clock is ahead.
TEST(Heartbeat, IsNotFollowedByWhatIsDatedBeforeIt) {
  Life life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  life.now += absl::Minutes(5);
  const absl::Time when = life.now;
  life.Must(Heartbeat(life.id, kRun));
  life.now = when - absl::Seconds(2);
  life.Must(CompleteTask(life.id, kRun));
  EXPECT_EQ(FromProto(life.task().complete_time()), when);
  EXPECT_EQ(FromProto(life.session().update_time()), when);
}

TEST(Progress, IsAFactThatLeavesTheEtagAlone) {
  Life life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  const Session before = life.session();
  life.Must(Progress(life.id, kRun, 0.25));
  life.Must(Progress(life.id, kRun, 0.5));
  EXPECT_EQ(life.session().sequence(), before.sequence() + 2);
  EXPECT_EQ(EtagOf(life.session()), EtagOf(before));
  EXPECT_EQ(life.task().progress().fields().at("done").number_value(), 0.5);
  EXPECT_EQ(FromProto(life.task().heartbeat_time()), life.now - absl::Seconds(1));
  // An editor's etag from before still holds; and then it moves by what lies between.
  Command label = SetLabel(life.id, "a", "b");
  std::get<v1::UpdateSessionRequest>(label.request).set_etag(EtagOf(before));
  life.Must(label);
  EXPECT_EQ(life.session().revision(), life.session().sequence());
}

TEST(Silence, FailsATaskOnceItsTimeIsUpAndNotBefore) {
  Life life = At(kPlaces[0]);
  Command start = StartTask(life.id, "processing", kRun);
  std::get<v1::StartTaskRequest>(start.request).mutable_heartbeat_timeout()->set_seconds(30);
  life.Must(start);
  const absl::Time started = FromProto(life.task().start_time());
  SessionError error = AnError(SessionError::WARNING);
  error.set_category(SessionError::TEMPORARY);
  const Command fail = ByTimeout(FailTask(life.id, kRun, &error));
  life.now = started + absl::Seconds(30) - absl::Microseconds(1);
  EXPECT_EQ(Facts(life.Try(fail)), kStale);
  life.Must(Heartbeat(life.id, kRun));
  const absl::Time beat = FromProto(life.task().heartbeat_time());
  life.now = started + absl::Seconds(31);
  EXPECT_EQ(Facts(life.Try(fail)), kStale) << "it was heard of meanwhile";
  life.now = beat + absl::Seconds(30);
  const auto failed = life.Do(fail);
  ASSERT_EQ(Facts(failed), "TASK_FAILED+ERROR_RECORDED");
  for (const SessionEvent& event : failed->events) {
    EXPECT_EQ(event.trigger(), SessionEvent::SYSTEM_TIMEOUT);
    EXPECT_EQ(event.actor(), "system");
  }
  EXPECT_EQ(life.task().retry_count(), 1);
  EXPECT_EQ(Facts(life.Try(fail)), kIdle) << "exactly once";
}

// -----------------------------------------------------------------------------------------------
// the order of refusals

template <class Request>
Command WithEtag(Command command, const std::string& etag) {
  std::get<Request>(command.request).set_etag(etag);
  return command;
}

TEST(Order, OfAReportIsExistenceThenTheRunThenEtagStateAndTask) {
  const auto complete = [](const std::string& run, const std::string& etag) {
    return WithEtag<v1::CompleteTaskRequest>(CompleteTask(kUuid, run, "nowhere"), etag);
  };
  Life life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  EXPECT_EQ(Facts(life.Try(complete(kForeign, "r999"))), kStale);
  EXPECT_EQ(Facts(life.Try(complete(kRun, "r999"))), "!ETAG_MISMATCH");
  EXPECT_EQ(Facts(life.Try(complete(kRun, ""))), kMove);
  life = *Reach(kPlaces[0], "failed, ACTIVE", "COMPLETED");
  EXPECT_EQ(Facts(life.Try(complete(kForeign, "r999"))), kStale);
  EXPECT_EQ(Facts(life.Try(complete(kRun, "r999"))), "!ETAG_MISMATCH");
  EXPECT_EQ(Facts(life.Try(complete(kRun, ""))), kShut);
  life = *Reach(kPlaces[0], "ACTIVE", "COMPLETED");
  EXPECT_EQ(Facts(life.Try(complete(kRun, ""))), kDone);
}

TEST(Order, OfAStartIsEtagStateTaskStageFieldsBlocking) {
  const auto start = [](const std::string& etag) {
    return WithEtag<v1::StartTaskRequest>(StartTask(kUuid, "processing", "", "nowhere"), etag);
  };
  Life life = *Reach(kPlaces[0], "PAUSED", "RUNNING");
  EXPECT_EQ(Facts(life.Try(start("r999"))), "!ETAG_MISMATCH");
  EXPECT_EQ(Facts(life.Try(start(""))), kShut);
  life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  EXPECT_EQ(Facts(life.Try(start(""))), kBusy);
  life = *Reach(kPlaces[0], "ACTIVE", "FAILED");
  EXPECT_EQ(Facts(life.Try(start(""))), "!TASK_FAILED");
  life = *Reach(kPlaces[0], "ACTIVE", "COMPLETED");
  life.Must(RecordError(life.id, AnError(SessionError::BLOCKING)));
  EXPECT_EQ(Facts(life.Try(start(""))), kMove);
}

TEST(Order, OfAnAdvanceIsStateTaskStageFieldsBlocking) {
  Life life("ticket_export");
  v1::CreateSessionRequest request = NewSession("ticket_export");
  request.set_session_id(life.id);
  life.Must(Create(life.workflow, request));  // without the jira_project_key
  life.AdvanceTo("review");
  life.Must(RecordError(life.id, AnError(SessionError::BLOCKING)));
  EXPECT_EQ(Facts(life.Try(Advance(life.id, "completed"))), kMove);
  EXPECT_EQ(Facts(life.Try(Advance(life.id, "jira_export"))), "!STAGE_FIELDS_MISSING");
  Life running = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  const auto busy = running.Try(Advance(running.id, "nowhere"));
  EXPECT_EQ(Facts(busy), kBusy) << "the task before the stage";
  EXPECT_EQ(Metadata(busy.status(), "task_id"), kRun);
  EXPECT_THAT(std::string(busy.status().message()), HasSubstr("advance_to_stage"));
  running.Must(About<v1::PauseSessionRequest>(running.id));
  EXPECT_EQ(Facts(running.Try(Advance(running.id, "review"))), kShut) << "the state before it";
}

TEST(Order, OfARetryIsEtagTaskStateStage) {
  Life life = *Reach(kPlaces[0], "failed, ACTIVE", "FAILED for good");
  EXPECT_EQ(Facts(life.Try(WithEtag<v1::RetryTaskRequest>(RetryTask(kUuid), "r999"))),
            "!ETAG_MISMATCH");
  EXPECT_EQ(Facts(life.Try(RetryTask(kUuid))), kLimit);
  life = *Reach(kPlaces[0], "ACTIVE", "FAILED");
  life.Must(Advance(life.id, "review"));
  life.Must(About<v1::PauseSessionRequest>(life.id));
  EXPECT_EQ(Facts(life.Try(RetryTask(kUuid))), kShut) << "the state before the stage";
}

TEST(Order, OfAFailureIsItsErrorLast) {
  SessionError error = AnError(SessionError::INFO, "no such file");
  Life life = *Reach(kPlaces[0], "ACTIVE", "COMPLETED");
  EXPECT_EQ(Facts(life.Try(FailTask(life.id, kRun, &error))), kDone);
  life = *Reach(kPlaces[0], "ACTIVE", "RUNNING");
  EXPECT_EQ(Facts(life.Try(FailTask(life.id, kRun, &error))), "!ARTIFACT_NOT_FOUND");
  error.clear_related_file_id();
  error.set_operation_stage("nowhere");
  EXPECT_EQ(Facts(life.Try(FailTask(life.id, kRun, &error))), "!INVALID_FIELD");
  error.set_operation_stage("upload");
  const auto failed = life.Try(FailTask(life.id, kRun, &error));
  ASSERT_EQ(Facts(failed), "TASK_FAILED+ERROR_RECORDED");
  EXPECT_EQ(failed->errors[0].operation_stage(), "upload");
}

// -----------------------------------------------------------------------------------------------
// sentences, recovery, what a reader is shown

TEST(Sentences, OfTasksBeginWithTheWordsThatCallersKnow) {
  Life life = *Reach(kPlaces[0], "ACTIVE", "COMPLETED");
  const absl::Status completed = life.Try(CancelTask(life.id, kRun)).status();
  EXPECT_THAT(std::string(completed.message()), StartsWith("Cannot modify completed task"));
  EXPECT_EQ(Metadata(completed, "category"), "USER_FIXABLE");
  EXPECT_EQ(Metadata(completed, "complete_time"),
            ToRfc3339(FromProto(life.task().complete_time())));
  life = *Reach(kPlaces[0], "ACTIVE", "FAILED");
  const absl::Status idle = life.Try(CancelTask(life.id, life.task().task_id())).status();
  EXPECT_EQ(Metadata(idle, "status"), "FAILED");
  const absl::Status again = life.Try(StartTask(life.id, "processing")).status();
  EXPECT_THAT(std::string(again.message()), HasSubstr("RetryTask"));
  EXPECT_EQ(Metadata(again, "task_type"), "processing");
  EXPECT_EQ(Metadata(again, "retry_count"), "1");
}

TEST(Recovery, IsRefusedWithTheReason) {
  Life creating("ticket_export");
  creating.Begin(/*creating=*/true);
  Life stopped = *Reach(kPlaces[0], "STOPPED", "none");
  Life completed("ticket_export");
  completed.Begin();
  completed.AdvanceTo("completed");
  Life late = At(kPlaces[0]);
  late.now = kBegin + absl::Hours(24 * 7);
  Life just = At(kPlaces[0]);
  just.now = kBegin + absl::Hours(24 * 7) - absl::Microseconds(1);
  const std::pair<Life*, const char*> cases[] = {
      {&creating, "creating"}, {&stopped, "stopped"}, {&completed, "completed"}, {&late, "window"}};
  for (const auto& [life, why] : cases) {
    const auto refused = life->Try(About<v1::RecoverSessionRequest>(life->id));
    EXPECT_EQ(Facts(refused), kLost) << why;
    EXPECT_EQ(Metadata(refused.status(), "why"), why);
  }
  EXPECT_EQ(Facts(just.Do(About<v1::RecoverSessionRequest>(just.id))), "RECOVERED");
}

TEST(Recovery, OfASoundSessionIsAuditedAndChangesNothing) {
  for (const char* name : {"ticket_export", "execution", "interview"}) {
    Life life(name);
    life.Begin();
    Session before = life.session();
    ASSERT_EQ(Facts(life.Do(About<v1::RecoverSessionRequest>(life.id))), "RECOVERED") << name;
    Session after = life.session();
    for (Session* session : {&before, &after}) {
      session->clear_sequence();
      session->clear_revision();
      session->clear_update_time();
    }
    EXPECT_TRUE(MessageDifferencer::Equals(before, after)) << name;
  }
}

TEST(Presented, IsHowLongATaskTookAndWhetherItCanBeRetried) {
  Life life = At(kPlaces[0]);
  life.Must(StartTask(life.id, "processing", kRun));
  const absl::Time started = FromProto(life.task().start_time());
  const auto presented = [&](absl::Time now) {
    Session session = life.session();
    Present(*life.workflow, now, &session);
    return session.current_task();
  };
  EXPECT_EQ(presented(started + absl::Minutes(3)).duration().seconds(), 180);
  EXPECT_EQ(presented(started - absl::Minutes(3)).duration().seconds(), 0);
  EXPECT_FALSE(presented(started).retryable());
  EXPECT_EQ(PresentedUntil(life.session()), absl::InfinitePast()) << "it grows older";
  life.now = started + absl::Minutes(2);
  life.Must(FailTask(life.id, kRun));
  EXPECT_EQ(PresentedUntil(life.session()), absl::InfiniteFuture());
  EXPECT_EQ(presented(started + absl::Hours(3)).duration().seconds(), 120);
  EXPECT_TRUE(presented(started).retryable());
  FailOnce(life, kPlaces[0]);
  FailOnce(life, kPlaces[0]);
  EXPECT_FALSE(presented(started).retryable());
}

}  // namespace
}  // namespace sessiond
