package com.sessiond.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeout;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Value;
import com.sessiond.v1.ErrorReason;
import com.sessiond.v1.Session;
import com.sessiond.v1.SessionError;
import com.sessiond.v1.SessionTask;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** On a real daemon. */
@Timeout(120)
class TaskRunnerTest {
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private SessiondClient client;
  private String id;

  @BeforeEach
  void createSession() {
    client = RealDaemon.get().client();
    Session session =
        client
            .sessions()
            .createSession(
                r -> r.getSessionBuilder().setWorkflow("ticket_export").setOwnerId("u").setOwnerDisplayName("U"));
    id = session.getSessionId();
    client.sessions().advanceSession(r -> r.setSessionId(id).setTargetStage("upload"));
  }

  @AfterEach
  void close() {
    if (client != null) client.close();
  }

  private TaskRunner runner() {
    return client.task(id, "processing").startStage("processing");
  }

  private Session session() {
    return client.sessions().getSession(r -> r.setSessionId(id));
  }

  private List<SessionError> errors() {
    return client.errors().listErrors(r -> r.setSessionId(id)).stream().toList();
  }

  private static SessiondClient client(ClientInterceptor interceptor) {
    return SessiondClient.builder(Map.of()).address(RealDaemon.get().address()).interceptor(interceptor).build();
  }

  /**
   * Does this the first time that the daemon has answered that call, on the calling thread. Its answer is replaced by
   * this status, unless that is null, and not tried again.
   */
  private static ClientInterceptor behind(String called, Status answer, Runnable then) {
    AtomicBoolean first = new AtomicBoolean(true);
    return new ClientInterceptor() {
      @Override
      public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
        ClientCall<Q, A> call = next.newCall(method, options);
        if (!method.getBareMethodName().equals(called)) return call;
        return new SimpleForwardingClientCall<Q, A>(call) {
          @Override
          public void start(ClientCall.Listener<A> listener, Metadata headers) {
            super.start(
                new SimpleForwardingClientCallListener<A>(listener) {
                  @Override
                  public void onClose(Status status, Metadata trailers) {
                    if (first.getAndSet(false)) then.run();
                    if (answer != null) trailers.put(PUSHBACK, "-1");
                    super.onClose(answer == null ? status : answer, trailers);
                  }
                },
                headers);
          }
        };
      }
    };
  }

  @Test
  void workIsStartedAndCompleted() {
    SessionTask done =
        runner()
            .endStage("review")
            .run(
                task -> {
                  task.progress(Map.of("files", List.of("a", "b")));
                  assertEquals(id, task.sessionId());
                  return Map.of("tickets", 2);
                });
    assertEquals(SessionTask.Status.COMPLETED, done.getStatus());
    assertEquals(Map.of("tickets", 2L), Values.map(done.getResult()));
    assertEquals(Map.of("files", List.of("a", "b")), Values.map(done.getProgress()));
    assertEquals("review", session().getStage());
    assertTrue(errors().isEmpty());
  }

  @Test
  void aFailureIsRecordedAndTriedAgain() {
    SessionTask done =
        runner()
            .attempts(2)
            .run(
                task -> {
                  if (task.attempt() == 1) throw new IOException("disk full");
                  return null;
                });
    assertEquals(1, done.getRetryCount());
    SessionError error = errors().get(0);
    assertEquals(SessionError.Category.TEMPORARY, error.getCategory());
    assertEquals(SessionError.Severity.WARNING, error.getSeverity());
    assertEquals("java.io.IOException", error.getErrorCode());
    assertEquals("The processing task failed, and is tried again.", error.getUserMessage());
    assertEquals("disk full", Values.map(error.getTechnicalDetails()).get("message"));
  }

  @Test
  void aFailureForGoodIsThrown() {
    IOException thrown = new IOException("disk \0full " + "x".repeat(100_000));
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class,
            () ->
                runner()
                    .run(
                        task -> {
                          throw thrown;
                        }));
    assertSame(thrown, failed.getCause());
    assertEquals(1, failed.attempts());
    assertEquals(SessionTask.Status.FAILED, failed.task().getStatus());
    Map<String, Object> context = Values.map(failed.task().getFailureContext());
    assertEquals("java.io.IOException", context.get("type"));
    assertTrue(context.get("message").toString().startsWith("disk \uFFFDfull xxx"), context.toString());
    assertEquals(SessionError.Category.ADMIN_REQUIRED, errors().get(0).getCategory());
  }

  @Test
  void workCanSayWhatToRecord() {
    SessionError error =
        SessionError.newBuilder()
            .setCategory(SessionError.Category.USER_FIXABLE)
            .setSeverity(SessionError.Severity.BLOCKING)
            .setUserMessage("The key of the project is wrong.")
            .addRecoveryActions("Correct it.")
            .build();
    assertThrows(
        TaskException.Failed.class,
        () ->
            runner()
                .run(
                    task -> {
                      throw new TaskFailure(error);
                    }));
    assertEquals(List.of("Correct it."), errors().get(0).getRecoveryActionsList());
    assertEquals("The key of the project is wrong.", errors().get(0).getUserMessage());
    assertTrue(session().getHasBlockingErrors());
  }

  @Test
  void wordsThatTheContractDoesNotTakeAreMadeFit() {
    String unfit = "\0\uDE00" + "\u00E9".repeat(4096);
    SessionError error =
        SessionError.newBuilder()
            .setUserMessage(unfit)
            .addRecoveryActions(" \u200B")
            .addRecoveryActions(unfit)
            .setErrorCode("a\n" + unfit)
            .build();
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class,
            () ->
                runner()
                    .run(
                        task -> {
                          throw new TaskFailure(error);
                        }));
    String message = "\uFFFD\uFFFD" + "\u00E9".repeat(2045);
    assertEquals(message, Values.map(failed.task().getFailureContext()).get("message"));
    SessionError recorded = errors().get(0);
    assertEquals(message, recorded.getUserMessage());
    assertEquals(List.of(message.substring(0, 511)), recorded.getRecoveryActionsList());
    assertEquals("a " + message.substring(0, 126), recorded.getErrorCode());
    assertEquals(SessionError.Category.ADMIN_REQUIRED, recorded.getCategory());
    assertEquals(SessionError.Severity.WARNING, recorded.getSeverity());
  }

  @Test
  void aMessageWithNothingToReadIsReplaced() {
    SessionError error = SessionError.newBuilder().setUserMessage(" \u200B\n").build();
    assertThrows(
        TaskException.Failed.class,
        () ->
            runner()
                .run(
                    task -> {
                      throw new TaskFailure(error);
                    }));
    assertEquals("The processing task failed.", errors().get(0).getUserMessage());
  }

  @Test
  void detailsThatTheDaemonDoesNotTakeAreLeftOut() {
    SessionError error =
        SessionError.newBuilder()
            .setUserMessage("No room.")
            .setTechnicalDetails(Values.struct(Map.of("log", "x".repeat(70_000))))
            .build();
    assertThrows(
        TaskException.Failed.class,
        () ->
            runner()
                .run(
                    task -> {
                      throw new TaskFailure(error);
                    }));
    assertEquals("No room.", errors().get(0).getUserMessage());
    Map<String, Object> details = Values.map(errors().get(0).getTechnicalDetails());
    assertTrue(details.get("details_left_out").toString().contains("65536"), details.toString());
  }

  @ParameterizedTest
  @ValueSource(strings = {"\0", "\uD800"})
  void aResultThatCannotBeFailsTheTaskOnce(String text) {
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class, () -> runner().attempts(3).run(task -> Map.of("log", List.of(text))));
    assertEquals(1, failed.attempts());
    assertTrue(failed.getCause().getMessage().startsWith("The value at log[0] has a "), failed.getMessage());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void aResultOfTheContractsOwnValuesThatCannotBeSentFailsTheTask() {
    Value half = Value.newBuilder().setStringValue("\uD800").build();
    SessiondException refused =
        assertThrows(
            SessiondException.InvalidArgument.class, () -> runner().attempts(3).run(task -> Map.of("log", half)));
    assertEquals("result.log", refused.fieldViolations().get(0).field());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void aResultThatIsTooLongFailsTheTask() {
    assertThrows(
        SessiondException.class, () -> runner().run(task -> Map.of("log", "x".repeat(5 << 20))));
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void anErrorOfTheJvmFailsTheTaskAndIsThrown() {
    AssertionError error = new AssertionError("impossible");
    assertSame(
        error,
        assertThrows(
            AssertionError.class,
            () ->
                runner()
                    .attempts(3)
                    .run(
                        task -> {
                          throw error;
                        })));
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void aFailedTaskIsContinued() {
    assertThrows(
        TaskException.Failed.class,
        () ->
            runner()
                .run(
                    task -> {
                      throw new IOException("once");
                    }));
    SessiondException refused =
        assertThrows(SessiondException.class, () -> client.task(id, "processing").run(task -> null));
    assertEquals(ErrorReason.TASK_FAILED, refused.reason());
    SessionTask done = client.task(id, "processing").continueFailed().run(task -> null);
    assertEquals(SessionTask.Status.COMPLETED, done.getStatus());
  }

  @Test
  void heartbeatsKeepItAlive() {
    SessionTask done =
        runner()
            .heartbeatTimeout(Duration.ofSeconds(10))
            .heartbeatInterval(Duration.ofSeconds(1))
            .run(
                task -> {
                  Thread.sleep(15_000);
                  return null;
                });
    assertEquals(SessionTask.Status.COMPLETED, done.getStatus());
  }

  @Test
  void aCancellationInterruptsTheWork() {
    CountDownLatch never = new CountDownLatch(1);
    TaskException.Cancelled cancelled =
        assertThrows(
            TaskException.Cancelled.class,
            () ->
                runner()
                    .heartbeatInterval(Duration.ofMillis(100))
                    .run(
                        task -> {
                          client.tasks().cancelTask(r -> r.setSessionId(id).setTaskId(task.taskId()));
                          assertThrows(InterruptedException.class, () -> never.await(30, TimeUnit.SECONDS));
                          assertTrue(task.isCancelled());
                          assertThrows(CancellationException.class, () -> task.progress(Map.of()));
                          return Map.of("late", true);
                        }));
    assertEquals(SessionTask.Status.CANCELLED, cancelled.task().getStatus());
    assertFalse(Thread.currentThread().isInterrupted());
    assertTrue(errors().isEmpty());
  }

  @Test
  void aCancellationBehindTheLastHeartbeatIsNoticedToo() {
    TaskException.Cancelled cancelled =
        assertThrows(
            TaskException.Cancelled.class,
            () ->
                runner()
                    .run(
                        task -> {
                          client.sessions().stopSession(r -> r.setSessionId(id));
                          return Map.of();
                        }));
    assertInstanceOf(SessiondException.FailedPrecondition.class, cancelled.getCause());
  }

  @Test
  void aTaskThatAnotherRunReplacedIsLost() {
    TaskException.Lost lost =
        assertThrows(
            TaskException.Lost.class,
            () ->
                runner()
                    .attempts(3)
                    .run(
                        task -> {
                          client.tasks().failTask(r -> r.setSessionId(id).setTaskId(task.taskId()));
                          client.tasks().retryTask(r -> r.setSessionId(id));
                          throw new IOException("too late");
                        }));
    assertEquals(1, lost.attempts());
    SessionTask now = session().getCurrentTask();
    assertNotEquals(lost.task().getTaskId(), now.getTaskId());
    assertEquals(SessionTask.Status.RUNNING, now.getStatus());
  }

  @Test
  void closingTheClientInterruptsTheWork() {
    SessiondClient closed = RealDaemon.get().client();
    CompletableFuture<Void> working = new CompletableFuture<>();
    CompletableFuture<Void> closing = working.thenRunAsync(closed::close);
    TaskException.Lost lost =
        assertThrows(
            TaskException.Lost.class,
            () ->
                closed
                    .task(id, "processing")
                    .startStage("processing")
                    .run(
                        task -> {
                          working.complete(null);
                          Thread.sleep(60_000);
                          return null;
                        }));
    assertInstanceOf(InterruptedException.class, lost.getCause());
    closing.join();  // The work is interrupted before the connection is closed.
    assertThrows(
        SessiondException.Unavailable.class,
        () ->
            assertTimeout(Duration.ofSeconds(5), () -> closed.sessions().getSession(r -> r.setSessionId(id))));
  }

  @Test
  void anEndThatIsRefusedFailsTheTask() {
    SessiondException refused =
        assertThrows(
            SessiondException.FailedPrecondition.class, () -> runner().endStage("completed").run(task -> Map.of()));
    assertEquals(ErrorReason.INVALID_TRANSITION, refused.reason());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
    assertEquals(SessionError.Category.ADMIN_REQUIRED, errors().get(0).getCategory());
  }

  @Test
  void anInterruptOfTheCallerFailsTheTaskAndStays() {
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class,
            () ->
                runner()
                    .attempts(3)
                    .run(
                        task -> {
                          Thread.currentThread().interrupt();
                          Thread.sleep(1);
                          return null;
                        }));
    assertTrue(Thread.interrupted());
    assertInstanceOf(InterruptedException.class, failed.getCause());
    assertEquals(1, failed.attempts());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void anInterruptThatTheWorkLeftDoesNotKeepItFromItsEnd() {
    SessionTask done =
        runner()
            .run(
                task -> {
                  Thread.currentThread().interrupt();
                  return null;
                });
    assertTrue(Thread.interrupted());
    assertEquals(SessionTask.Status.COMPLETED, done.getStatus());
  }

  @Test
  void anInterruptThatTheWorkLeftDoesNotKeepARefusedEndFromFailingTheTask() {
    assertThrows(
        SessiondException.FailedPrecondition.class,
        () ->
            runner()
                .endStage("completed")
                .run(
                    task -> {
                      Thread.currentThread().interrupt();
                      return null;
                    }));
    assertTrue(Thread.interrupted());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void anEndThatIsRefusedIsToldAlsoWhereTheFailureIsRefusedToo() {
    ClientInterceptor lateFailures =
        new ClientInterceptor() {
          @Override
          public <Q, A> ClientCall<Q, A> interceptCall(
              MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            boolean failure = method.getBareMethodName().equals("FailTask");
            return next.newCall(method, failure ? options.withDeadlineAfter(0, TimeUnit.SECONDS) : options);
          }
        };
    String address = RealDaemon.get().address();
    try (SessiondClient late = SessiondClient.builder(Map.of()).address(address).interceptor(lateFailures).build()) {
      TaskRunner runner = late.task(id, "processing").startStage("processing").endStage("completed");
      SessiondException refused = assertThrows(SessiondException.class, () -> runner.run(task -> null));
      assertEquals(ErrorReason.INVALID_TRANSITION, refused.reason());
      assertEquals(1, refused.getSuppressed().length);
      assertInstanceOf(SessiondException.DeadlineExceeded.class, refused.getSuppressed()[0]);
      assertEquals(0, refused.getSuppressed()[0].getSuppressed().length);
    }
  }

  @Test
  void betweenTwoRunsThereIsAPauseWhichGrows() {
    List<Long> runs = new ArrayList<>();
    IOException thrown = new IOException("busy");
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class,
            () ->
                runner()
                    .attempts(3)
                    .run(
                        task -> {
                          runs.add(System.nanoTime());
                          throw thrown;
                        }));
    assertSame(thrown, failed.getCause());
    List<Long> pauses = List.of((runs.get(1) - runs.get(0)) / 1_000_000, (runs.get(2) - runs.get(1)) / 1_000_000);
    // Half of 100 ms at least, and then of 200.
    assertTrue(pauses.get(0) >= 50 && pauses.get(1) >= 100, pauses.toString());
  }

  @Test
  void anInterruptBeforeTheRetryLeavesTheTaskToBeRetried() {
    IOException thrown = new IOException("busy");
    ClientInterceptor interrupting = behind("FailTask", null, () -> Thread.currentThread().interrupt());
    try (SessiondClient interrupted = client(interrupting)) {
      TaskRunner runner = interrupted.task(id, "processing").startStage("processing").attempts(3);
      TaskException.Failed failed =
          assertThrows(
              TaskException.Failed.class,
              () ->
                  runner.run(
                      task -> {
                        throw thrown;
                      }));
      assertTrue(Thread.interrupted());
      assertSame(thrown, failed.getCause());
      assertEquals(0, failed.getSuppressed().length);
    }
    assertTrue(session().getCurrentTask().getRetryable());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @ParameterizedTest
  @ValueSource(strings = {"FailTask", "CompleteTask"})
  void anInterruptOfTheCallThatEndsTheTaskLeavesItNotRunning(String called) {
    AtomicBoolean first = new AtomicBoolean(true);
    ClientInterceptor interrupting =
        new ClientInterceptor() {
          @Override
          public <Q, A> ClientCall<Q, A> interceptCall(
              MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            boolean now = method.getBareMethodName().equals(called) && first.getAndSet(false);
            if (now) Thread.currentThread().interrupt();
            return next.newCall(method, options);
          }
        };
    IOException thrown = new IOException("busy");
    try (SessiondClient interrupted = client(interrupting)) {
      TaskRunner runner = interrupted.task(id, "processing").startStage("processing");
      if (called.equals("CompleteTask")) {
        assertEquals(SessionTask.Status.COMPLETED, runner.run(task -> null).getStatus());
      } else {
        TaskException.Failed failed =
            assertThrows(
                TaskException.Failed.class,
                () ->
                    runner.run(
                        task -> {
                          throw thrown;
                        }));
        assertSame(thrown, failed.getCause());
        assertEquals(SessionTask.Status.FAILED, failed.task().getStatus());
      }
      assertTrue(Thread.interrupted());
    }
    assertNotEquals(SessionTask.Status.RUNNING, session().getCurrentTask().getStatus());
  }

  @Test
  void closingTheClientEndsThePauseBeforeTheRetry() {
    IOException thrown = new IOException("busy");
    CompletableFuture<SessiondClient> closed = new CompletableFuture<>();
    ClientInterceptor closing = behind("FailTask", null, () -> closed.join().close());
    closed.complete(client(closing));
    TaskRunner runner = closed.join().task(id, "processing").startStage("processing").attempts(3);
    TaskException.Failed failed =
        assertThrows(
            TaskException.Failed.class,
            () ->
                runner.run(
                    task -> {
                      throw thrown;
                    }));
    assertSame(thrown, failed.getCause());
    assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
  }

  @Test
  void aRetryThatIsRefusedDoesNotHideWhyTheWorkFailed() {
    IOException thrown = new IOException("busy");
    ClientInterceptor stopping =
        behind("FailTask", null, () -> client.sessions().stopSession(r -> r.setSessionId(id)));
    try (SessiondClient stopped = client(stopping)) {
      TaskRunner runner = stopped.task(id, "processing").startStage("processing").attempts(3);
      TaskException.Failed failed =
          assertThrows(
              TaskException.Failed.class,
              () ->
                  runner.run(
                      task -> {
                        throw thrown;
                      }));
      assertSame(thrown, failed.getCause());
      assertEquals(1, failed.attempts());
      assertEquals(1, failed.getSuppressed().length);
      SessiondException refused = assertInstanceOf(SessiondException.class, failed.getSuppressed()[0]);
      assertEquals(ErrorReason.SESSION_NOT_ACTIVE, refused.reason());
      assertEquals(1, errors().size());
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Status.Code.class,
      names = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"})
  void aRetryWhoseAnswerIsLostLeavesNoTaskRunning(Status.Code code) {
    IOException thrown = new IOException("busy");
    try (SessiondClient lost = client(behind("RetryTask", code.toStatus(), () -> {}))) {
      TaskRunner runner = lost.task(id, "processing").startStage("processing").attempts(3);
      TaskException.Failed failed =
          assertThrows(
              TaskException.Failed.class,
              () ->
                  runner.run(
                      task -> {
                        throw thrown;
                      }));
      assertSame(thrown, failed.getCause());
      assertEquals(code, assertInstanceOf(SessiondException.class, failed.getSuppressed()[0]).code());
      SessionTask now = session().getCurrentTask();
      assertEquals(SessionTask.Status.FAILED, now.getStatus());
      assertEquals(2, now.getRetryCount());
      assertEquals(now.getTaskId(), failed.task().getTaskId());
      assertEquals("The processing task was not run again.", errors().get(0).getUserMessage());
      assertEquals(SessionError.Category.TEMPORARY, errors().get(0).getCategory());
    }
  }

  @Test
  void anInterruptOfARetryLeavesNoTaskRunning() {
    IOException thrown = new IOException("busy");
    ClientInterceptor interrupting =
        behind(
            "RetryTask",
            Status.CANCELLED.withDescription("Thread interrupted"),
            () -> Thread.currentThread().interrupt());
    try (SessiondClient interrupted = client(interrupting)) {
      TaskRunner runner = interrupted.task(id, "processing").startStage("processing").attempts(3);
      TaskException.Failed failed =
          assertThrows(
              TaskException.Failed.class,
              () ->
                  runner.run(
                      task -> {
                        throw thrown;
                      }));
      assertTrue(Thread.interrupted());
      assertSame(thrown, failed.getCause());
      assertEquals(SessionTask.Status.FAILED, session().getCurrentTask().getStatus());
    }
  }

  @Test
  void aFailureThatIsRefusedDoesNotHideWhyTheWorkFailed() {
    IOException thrown = new IOException("busy");
    AssertionError error = new AssertionError("impossible");
    try (SessiondClient lost = client(behind("FailTask", Status.PERMISSION_DENIED, () -> {}))) {
      TaskRunner runner = lost.task(id, "processing").startStage("processing").attempts(3);
      TaskException.Failed failed =
          assertThrows(
              TaskException.Failed.class,
              () ->
                  runner.run(
                      task -> {
                        throw thrown;
                      }));
      assertSame(thrown, failed.getCause());
      assertInstanceOf(SessiondException.PermissionDenied.class, failed.getSuppressed()[0]);
      assertSame(
          error,
          assertThrows(
              AssertionError.class,
              () ->
                  lost.task(id, "processing")
                      .continueFailed()
                      .run(
                          task -> {
                            throw error;
                          })));
      assertInstanceOf(SessiondException.PermissionDenied.class, error.getSuppressed()[0]);
    }
  }

  @Test
  void hooksThatThrowLeaveNoTaskRunning() {
    AtomicBoolean working = new AtomicBoolean();
    CountDownLatch missedTwice = new CountDownLatch(2); // The first one did not end the heartbeats.
    ClientListener listener =
        new ClientListener() {
          @Override
          public void onHeartbeatMissed(String sessionId, String taskId, SessiondException why) {
            missedTwice.countDown();
            throw new IllegalStateException("no counter");
          }
        };
    Supplier<String> traceparent =
        () -> {
          if (working.get()) throw new IllegalStateException("no tracer");
          return null;
        };
    try (SessiondClient hooked =
        SessiondClient.builder(Map.of())
            .address(RealDaemon.get().address())
            .listener(listener)
            .traceparent(traceparent)
            .interceptor(behind("ReportTaskProgress", Status.INTERNAL.withDescription("reset"), () -> {}))
            .build()) {
      SessionTask done =
          hooked
              .task(id, "processing")
              .startStage("processing")
              .heartbeatInterval(Duration.ofMillis(20))
              .run(
                  task -> {
                    working.set(true);
                    missedTwice.await();
                    return Map.of();
                  });
      assertEquals(SessionTask.Status.COMPLETED, done.getStatus());
    }
  }

  @Test
  void aStartThatIsRefusedRunsNothing() {
    SessiondException refused =
        assertThrows(
            SessiondException.class,
            () ->
                client
                    .task(id, "processing")
                    .run(
                        task -> {
                          throw new AssertionError("It ran");
                        }));
    assertEquals(ErrorReason.INVALID_TRANSITION, refused.reason());
  }
}
