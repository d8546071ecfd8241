// The task runner against a fake daemon.
#include "sessiond/task_runner.h"

#include <stdexcept>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_machine/refusal.h"
#include "tests/fake_session_service.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::SessionTask TaskThat(v1::SessionTask::Status status, int retry_count = 0) {
  v1::SessionTask task;
  task.set_session_id("s1");
  task.set_task_id("t1");
  task.set_status(status);
  task.set_retry_count(retry_count);
  task.set_max_retries(3);
  task.set_retryable(status == v1::SessionTask::FAILED && retry_count < 3);
  return task;
}

absl::StatusOr<Map> DiskFull(TaskRun&) { return absl::ResourceExhaustedError("disk full"); }

class TaskRunnerTest : public testing::Test {
 protected:
  // The daemon's answers to the calls that answer a task, in this order.
  void Answers(std::vector<v1::SessionTask> tasks) {
    for (const auto& task : tasks) server_.calls.Hold(task);
  }
  // Heartbeats come when told: their interval is long.
  TaskSpec Spec() {
    return {.session_id = "s1", .task_type = "export", .heartbeat_timeout = absl::Seconds(90)};
  }
  absl::StatusOr<TaskResult> Go(TaskSpec spec, const TaskWork& work, CallOptions options = {}) {
    const TaskClient client(MakeChannel(server_.Address()), std::move(options));
    return RunTask(client, std::move(spec), work);
  }
  // Options by which RetryTask is refused: once, behind the first FailTask.
  CallOptions RetriesAreRefused(absl::Status refusal) {
    return {.on_call = [this, refusal, told = false](const CallRecord& call) mutable {
      if (call.method != "FailTask" || std::exchange(told, true)) return;
      server_.calls.RefuseNext(refusal);
    }};
  }
  std::vector<std::string> Requests() { return server_.calls.Requests(); }

  FakeServer server_;
};

TEST_F(TaskRunnerTest, ATaskIsStartedRunAndCompleted) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::COMPLETED)});
  TaskSpec spec = Spec();
  spec.start_stage = "exporting";
  spec.end_stage = "review";
  spec.actor = "ada";
  std::string task_id;
  const auto result = Go(spec, [&](TaskRun& run) {
    task_id = run.task_id();
    return Map{{"tickets", 2}};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kCompleted);
  EXPECT_EQ(result->task.status(), v1::SessionTask::COMPLETED);
  EXPECT_EQ(result->attempts, 1);
  EXPECT_EQ(task_id, "t1");
  EXPECT_THAT(
      Requests(),
      ElementsAre(AllOf(StartsWith("StartTask session_id: \"s1\" actor: \"ada\""),
                        HasSubstr("heartbeat_timeout { seconds: 90 }"),
                        HasSubstr("advance_to_stage: \"exporting\"")),
                  AllOf(StartsWith("CompleteTask session_id: \"s1\""), HasSubstr("task_id: \"t1\""),
                        HasSubstr("number_value: 2"), HasSubstr("advance_to_stage: \"review\""))));
}

TEST_F(TaskRunnerTest, WorkThatFailsIsRecordedWithItsError) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result = Go(Spec(), DiskFull);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_EQ(result->status, absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"),
                                      AllOf(StartsWith("FailTask"), HasSubstr("\"disk full\""),
                                            HasSubstr("category: ADMIN_REQUIRED severity: WARNING"),
                                            HasSubstr("user_message: \"The task export failed.\""),
                                            HasSubstr("error_code: \"RESOURCE_EXHAUSTED\""))));
}

TEST_F(TaskRunnerTest, AnExceptionIsAFailureOfItsClass) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result =
      Go(Spec(), [](TaskRun&) -> absl::StatusOr<Map> { throw std::out_of_range("no page 7"); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->status.message(), "no page 7");
  EXPECT_THAT(Requests().back(),
              AllOf(HasSubstr("\"no page 7\""), HasSubstr("error_code: \"std::out_of_range\"")));
}

TEST_F(TaskRunnerTest, WhatIsThrownOtherwiseFailsTheTaskAndGoesOn) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  EXPECT_THROW((void)Go(Spec(), [](TaskRun&) -> absl::StatusOr<Map> { throw 7; }), int);
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"), StartsWith("FailTask")));
}

TEST_F(TaskRunnerTest, AFailureIsTriedAgainAsOftenAsIsAsked) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1),
           TaskThat(v1::SessionTask::RUNNING, 1), TaskThat(v1::SessionTask::COMPLETED, 1)});
  TaskSpec spec = Spec();
  spec.attempts_max = 2;
  const auto result =
      Go(spec, [](TaskRun& run) { return run.attempt() == 1 ? DiskFull(run) : Map{}; });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kCompleted);
  EXPECT_EQ(result->attempts, 2);
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"),
                                      AllOf(StartsWith("FailTask"), HasSubstr("TEMPORARY")),
                                      StartsWith("RetryTask"), StartsWith("CompleteTask")));
}

TEST_F(TaskRunnerTest, WorkSaysWhatIsRecordedAndThatTryingAgainIsNoUse) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  TaskSpec spec = Spec();
  spec.attempts_max = 5;
  const auto result = Go(spec, [](TaskRun& run) {
    v1::SessionError error;
    error.set_category(v1::SessionError::USER_FIXABLE);
    error.set_user_message("The file has no rows.");
    run.RecordFailureAs(error);
    run.DoNotRetry();
    return DiskFull(run);
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->attempts, 1);
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"),
                                      AllOf(HasSubstr("category: USER_FIXABLE severity: WARNING"),
                                            HasSubstr("user_message: \"The file has no rows.\""))));
}

TEST_F(TaskRunnerTest, AMessageThatIsNoTextIsRecordedAsFarAsItIs) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result = Go(Spec(), [](TaskRun&) {
    return absl::StatusOr<Map>(absl::UnknownError("\xc3\xa4 \xff\xc0\x80 \x1b[31m \xed\xa0\x80."));
  });
  ASSERT_TRUE(result.ok()) << result.status();
  // ShortDebugString escapes: ä, and U+FFFD for each byte that is none.
  EXPECT_THAT(Requests().back(),
              HasSubstr(R"(\303\244 \357\277\275\357\277\275\357\277\275 \357\277\275[31m )"));
}

TEST_F(TaskRunnerTest, HeartbeatsComeWhileTheWorkRunsAndEndWithIt) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  TaskSpec spec = Spec();
  spec.heartbeat_interval = absl::Milliseconds(5);
  const auto result = Go(spec, [this](TaskRun& run) {
    while (Requests().size() < 4) run.SleepFor(absl::Milliseconds(1));
    return Map{};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  const auto requests = Requests();
  for (std::size_t i = 1; i + 1 < requests.size(); ++i) {
    EXPECT_THAT(requests[i], AllOf(StartsWith("ReportTaskProgress"), Not(HasSubstr("progress {"))));
  }
  EXPECT_THAT(requests.back(), StartsWith("CompleteTask"));
}

TEST_F(TaskRunnerTest, ProgressIsReported) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  const auto result = Go(Spec(), [](TaskRun& run) -> absl::StatusOr<Map> {
    if (absl::Status status = run.ReportProgress({{"done", 3}}); !status.ok()) return status;
    EXPECT_TRUE(absl::IsInvalidArgument(run.ReportProgress({{"id", int64_t{1} << 60}})));
    return Map{};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"),
                                      AllOf(StartsWith("ReportTaskProgress"), HasSubstr("done")),
                                      StartsWith("CompleteTask")));
}

TEST_F(TaskRunnerTest, WorkIsToldWhenItsTaskIsCancelled) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::CANCELLED)});
  TaskSpec spec = Spec();
  spec.heartbeat_interval = absl::Milliseconds(10);
  const auto result = Go(spec, [this](TaskRun& run) {
    server_.calls.RefuseNext(
        Refusal(v1::TASK_NOT_RUNNING, "It has ended").With("status", "CANCELLED"));
    EXPECT_FALSE(run.SleepFor(absl::Seconds(30)));
    EXPECT_TRUE(run.stop_token().stop_requested());
    return Map{{"never", true}};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kCancelled);
  EXPECT_EQ(result->task.status(), v1::SessionTask::CANCELLED);
  EXPECT_EQ(GetReason(result->status), v1::TASK_NOT_RUNNING);
  // What it returned is not looked at, and nobody ends a task that has ended.
  EXPECT_THAT(Requests().back(), StartsWith("GetTask"));
}

TEST_F(TaskRunnerTest, ATaskThatAnotherRunReplacedIsLost) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  const auto result = Go(spec, [this](TaskRun&) {
    server_.calls.RefuseNext(Refusal(v1::STALE_TASK, "Another runs").With("current_task_id", "t2"));
    return Map{};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kLost);
  EXPECT_EQ(result->attempts, 1);
}

TEST_F(TaskRunnerTest, ATaskThatTheDaemonFailedForSilenceIsLost) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result = Go(Spec(), [this](TaskRun&) {
    server_.calls.RefuseNext(
        Refusal(v1::TASK_NOT_RUNNING, "It has ended").With("status", "FAILED"));
    return Map{};
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kLost);
}

TEST_F(TaskRunnerTest, AWorkerThatIsStoppedLeavesTheTaskToOthers) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  std::stop_source stop;
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  spec.stop = stop.get_token();
  const auto result = Go(spec, [&stop](TaskRun& run) -> absl::StatusOr<Map> {
    stop.request_stop();
    EXPECT_FALSE(run.SleepFor(absl::Seconds(30)));
    return absl::CancelledError("going down");
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"),
                                      AllOf(StartsWith("FailTask"), HasSubstr("TEMPORARY"),
                                            HasSubstr("its worker was stopped"))));
}

TEST_F(TaskRunnerTest, ARefusedCompletionFailsTheTask) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result = Go(Spec(), [this](TaskRun&) {
    server_.calls.RefuseNext(Refusal(v1::INVALID_TRANSITION, "Not the next stage"));
    return Map{};
  });
  EXPECT_EQ(GetReason(result.status()), v1::INVALID_TRANSITION);
  EXPECT_THAT(Requests(),
              ElementsAre(StartsWith("StartTask"), StartsWith("CompleteTask"),
                          AllOf(StartsWith("FailTask"), HasSubstr("INVALID_TRANSITION"))));
}

TEST_F(TaskRunnerTest, AFailureThatIsRefusedHidesNotWhyTheWorkFailed) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  const auto result = Go(spec, [this](TaskRun& run) {
    server_.calls.RefuseNext(absl::PermissionDeniedError("not with this certificate"));
    return DiskFull(run);
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_EQ(result->status,
            absl::ResourceExhaustedError("disk full (and that was not recorded: "
                                         "PERMISSION_DENIED: not with this certificate)"));
  EXPECT_EQ(result->task.status(), v1::SessionTask::RUNNING);
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"), StartsWith("FailTask")));
}

TEST_F(TaskRunnerTest, ACompletionThatIsRefusedIsToldAlsoWhereTheFailureIsRefusedToo) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  const auto result = Go(Spec(), [this](TaskRun&) {
    server_.calls.RefuseNext(Refusal(v1::INVALID_TRANSITION, "Not the next stage"));
    server_.calls.RefuseNext(absl::PermissionDeniedError("not with this certificate"));
    return Map{};
  });
  EXPECT_EQ(GetReason(result.status()), v1::INVALID_TRANSITION);
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr("Not the next stage"),
                    HasSubstr("(and that was not recorded: PERMISSION_DENIED: not with this")));
}

TEST_F(TaskRunnerTest, ARetryThatIsRefusedHidesNotWhyTheWorkFailed) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  const auto result =
      Go(spec, DiskFull, RetriesAreRefused(absl::PermissionDeniedError("not with this one")));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_EQ(result->status,
            absl::ResourceExhaustedError(
                "disk full (and it was not run again: PERMISSION_DENIED: not with this one)"));
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"), StartsWith("FailTask"),
                                      StartsWith("RetryTask")));
}

// The retry may have taken effect: the daemon would wait for its worker.
TEST_F(TaskRunnerTest, ARetryWhoseAnswerIsLostLeavesNoTaskRunning) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1),
           TaskThat(v1::SessionTask::FAILED, 2)});
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  spec.actor = "ada";
  const auto result = Go(spec, DiskFull, RetriesAreRefused(absl::CancelledError("going down")));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_EQ(result->status, absl::ResourceExhaustedError(
                                "disk full (and it was not run again: CANCELLED: going down)"));
  EXPECT_EQ(result->attempts, 1);
  EXPECT_EQ(result->task.retry_count(), 2);
  const auto requests = Requests();
  ASSERT_EQ(requests.size(), 4);
  const std::size_t id = requests[2].find("task_id: ");
  ASSERT_NE(id, std::string::npos) << requests[2];
  constexpr std::size_t kIdSize = sizeof("task_id: \"00000000-0000-4000-8000-000000000000\"") - 1;
  EXPECT_THAT(requests[2], StartsWith("RetryTask"));
  EXPECT_THAT(requests[3],
              AllOf(StartsWith("FailTask"), HasSubstr(requests[2].substr(id, kIdSize)),
                    HasSubstr("actor: \"ada\""), HasSubstr("category: TEMPORARY"),
                    HasSubstr("user_message: \"The task export was not run again.\"")));
}

// One that has not begun cannot be failed, and the task is what it was.
TEST_F(TaskRunnerTest, ARetryThatHadNoEffectLeavesTheTaskAsItWas) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  TaskSpec spec = Spec();
  spec.attempts_max = 3;
  CallOptions options;
  options.on_call = [this](const CallRecord& call) {
    if (call.method == "FailTask" && call.status.ok()) {
      server_.calls.RefuseNext(absl::CancelledError("going down"));
      server_.calls.RefuseNext(Refusal(v1::STALE_TASK, "Another run").With("task_id", "t1"));
    }
  };
  const auto result = Go(spec, DiskFull, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kFailed);
  EXPECT_EQ(result->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(result->task.task_id(), "t1");
  EXPECT_THAT(Requests(),
              ElementsAre(StartsWith("StartTask"), StartsWith("FailTask"), StartsWith("RetryTask"),
                          StartsWith("FailTask"), StartsWith("GetTask")));
}

// On the heartbeats' thread it would end the process.
TEST_F(TaskRunnerTest, HooksThatThrowFailNoTask) {
  Answers({TaskThat(v1::SessionTask::RUNNING)});
  TaskSpec spec = Spec();
  spec.heartbeat_interval = absl::Milliseconds(5);
  int retries = 0;
  const CallOptions options = {
      .backoff_initial = absl::Milliseconds(1),
      .on_retry =
          [&retries](const absl::Status&, absl::Duration) {
            ++retries;
            throw std::runtime_error("no counter");
          },
      .on_call = [](const CallRecord&) { throw std::runtime_error("no log"); },
      .prepare = [](grpc::ClientContext&) { throw 7; },
  };
  server_.calls.RefuseNext(absl::UnavailableError("going down"));
  const auto work = [this](TaskRun& run) {
    while (Requests().size() < 5) run.SleepFor(absl::Milliseconds(1));
    return Map{};
  };
  const auto result = Go(spec, work, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->outcome, TaskOutcome::kCompleted);
  EXPECT_EQ(retries, 1);
}

// By a proxy, which gives no reason.
TEST_F(TaskRunnerTest, ACompletionThatIsNotLetThroughFailsTheTask) {
  Answers({TaskThat(v1::SessionTask::RUNNING), TaskThat(v1::SessionTask::FAILED, 1)});
  const auto result = Go(Spec(), [this](TaskRun&) {
    server_.calls.RefuseNext(absl::PermissionDeniedError("not with this certificate"));
    return Map{};
  });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(Requests(),
              ElementsAre(StartsWith("StartTask"), StartsWith("CompleteTask"),
                          AllOf(StartsWith("FailTask"), HasSubstr("PERMISSION_DENIED"))));
}

TEST_F(TaskRunnerTest, ATaskThatHasFailedBeforeIsRunAgain) {
  Answers({TaskThat(v1::SessionTask::RUNNING, 1), TaskThat(v1::SessionTask::COMPLETED, 1)});
  server_.calls.RefuseNext(Refusal(v1::TASK_FAILED, "RetryTask continues it"));
  const auto result = Go(Spec(), [](TaskRun&) { return Map{}; });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(Requests(), ElementsAre(StartsWith("StartTask"), StartsWith("RetryTask"),
                                      StartsWith("CompleteTask")));
}

TEST_F(TaskRunnerTest, WhatIsRefusedAtItsStartIsNotRun) {
  server_.calls.RefuseNext(Refusal(v1::NEVER_EXISTED, "No such session"));
  const auto result = Go(Spec(), [](TaskRun&) -> absl::StatusOr<Map> {
    ADD_FAILURE() << "It was run.";
    return Map{};
  });
  EXPECT_EQ(GetReason(result.status()), v1::NEVER_EXISTED);
}

TEST_F(TaskRunnerTest, ASpecThatMakesNoSenseIsRefusedByItsField) {
  TaskSpec never = Spec();
  never.attempts_max = 0;
  EXPECT_THAT(std::string(Go(never, DiskFull).status().message()),
              HasSubstr("attempts_max is 0: it is 1 or more"));
  TaskSpec backwards = Spec();
  backwards.finish_timeout = -absl::Seconds(1);
  EXPECT_THAT(std::string(Go(backwards, DiskFull).status().message()),
              HasSubstr("finish_timeout is -1s"));
  EXPECT_THAT(Requests(), ElementsAre());
}

}  // namespace
}  // namespace sessiond
