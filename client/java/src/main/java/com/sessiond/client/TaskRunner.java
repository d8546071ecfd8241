package com.sessiond.client;

import com.google.protobuf.Struct;
import com.sessiond.v1.CompleteTaskRequest;
import com.sessiond.v1.FailTaskRequest;
import com.sessiond.v1.RetryTaskRequest;
import com.sessiond.v1.SessionError;
import com.sessiond.v1.SessionTask;
import com.sessiond.v1.StartTaskRequest;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * Runs work as the task of a session: starts the task, sends heartbeats while the work runs, and completes it, or fails
 * it with the error recorded.
 *
 * <pre>{@code
 * SessionTask done = client.task(sessionId, "export").attempts(3).run(task -> {
 *   for (Ticket ticket : tickets) export(ticket);
 *   return Map.of("exported", tickets.size());
 * });
 * }</pre>
 *
 * <p>Not thread-safe; one run at a time.
 */
public final class TaskRunner {
  private static final int HEARTBEATS_A_TIMEOUT = 3;
  // Between two runs; longer than between two calls, because work that failed takes what it takes.
  private static final Duration RETRY_PAUSE = Duration.ofMillis(100);
  private static final Duration RETRY_PAUSE_MAX = Duration.ofSeconds(10);
  // What the contract takes, in bytes, of a message, of a recovery action and of a code; and recovery actions.
  private static final int MESSAGE_MAX = 4096;
  private static final int ACTION_MAX = 1024;
  private static final int CODE_MAX = 256;
  private static final int ACTIONS_MAX = 50;
  // Details are 64 KiB as JSON at most: so many frames of the stack, of so many bytes each.
  private static final int FRAMES_MAX = 20;
  private static final int FRAME_MAX = 1024;

  private final TaskClient tasks;
  private final Calls calls;
  private final String sessionId;
  private final String taskType;
  private Duration heartbeatTimeout = Duration.ofMinutes(1);
  private Duration heartbeatInterval;
  private String startStage = "";
  private String endStage = "";
  private int attemptsMax = 1;
  private boolean continueFailed;
  private String actor = "";

  TaskRunner(Calls calls, String sessionId, String taskType) {
    this.tasks = new TaskClient(calls);
    this.calls = calls;
    this.sessionId = sessionId;
    this.taskType = taskType;
  }

  /** How long the daemon lets this worker be silent before it fails the task. Default: a minute. */
  public TaskRunner heartbeatTimeout(Duration timeout) {
    this.heartbeatTimeout = timeout;
    return this;
  }

  /**
   * How often a heartbeat is sent; a cancellation is noticed as fast. Default: three times in the timeout.
   */
  public TaskRunner heartbeatInterval(Duration interval) {
    this.heartbeatInterval = interval;
    return this;
  }

  /** The session's next stage, to be entered with the start. */
  public TaskRunner startStage(String stage) {
    this.startStage = stage;
    return this;
  }

  /** The session's next stage, to be entered when the task is completed. */
  public TaskRunner endStage(String stage) {
    this.endStage = stage;
    return this;
  }

  /**
   * How often to run the work at most: again after a failure and a pause, while the task has retries left. Default: 1.
   */
  public TaskRunner attempts(int attemptsMax) {
    if (attemptsMax < 1) throw new IllegalArgumentException("attempts is " + attemptsMax + "; the least is 1");
    this.attemptsMax = attemptsMax;
    return this;
  }

  /** Continues a task that has failed before (RetryTask), instead of starting one. */
  public TaskRunner continueFailed() {
    this.continueFailed = true;
    return this;
  }

  /** The end user on whose behalf the work is done, for the audit. */
  public TaskRunner actor(String actor) {
    this.actor = actor;
    return this;
  }

  /**
   * Runs the work on this thread. Returns the completed task.
   *
   * @throws SessiondException when the task cannot be started, or its end is refused: it is failed then, and where that
   *     is refused too, that is suppressed in it
   * @throws TaskException.Failed when the work failed as often as it may; where that could not be recorded, or it could
   *     not be run again, why not is suppressed in it
   * @throws TaskException.Cancelled when the task was cancelled meanwhile; the work was interrupted
   * @throws TaskException.Lost when the task is no longer this worker's; the work was interrupted
   */
  public SessionTask run(TaskWork work) {
    Duration interval =
        heartbeatInterval == null ? heartbeatTimeout.dividedBy(HEARTBEATS_A_TIMEOUT) : heartbeatInterval;
    if (interval.isNegative() || interval.isZero()) {
      throw new IllegalArgumentException("heartbeatInterval is " + interval + "; it has to be longer than nothing");
    }
    SessionTask started = continueFailed ? retry(newId()) : start();
    Backoff between = new Backoff(RETRY_PAUSE, RETRY_PAUSE_MAX);
    for (int attempt = 1; ; attempt++) {
      RunningTask running = new RunningTask(tasks, calls, started, attempt);
      Struct result;
      boolean again = attempt < attemptsMax;
      try {
        Map<String, ?> brought = running.run(work, interval);
        again = false; // Another run would bring the same.
        result = Values.struct(brought == null ? Map.of() : brought);
      } catch (Throwable thrown) { // Whatever it is, the task must not be left running.
        SessionTask failed = fail(running, thrown, again);
        if (thrown instanceof Error error) throw error;
        if (!again || !failed.getRetryable() || !sleep(between.next())) {
          throw new TaskException.Failed(failed, attempt, thrown);
        }
        started = retryAfter(failed, attempt, thrown);
        continue;
      }
      return complete(running, result);
    }
  }

  private SessionTask start() {
    return tasks.startTask(
        StartTaskRequest.newBuilder()
            .setSessionId(sessionId)
            .setTaskType(taskType)
            .setHeartbeatTimeout(Values.duration(heartbeatTimeout))
            .setAdvanceToStage(startStage)
            .setActor(actor)
            .build());
  }

  private SessionTask retry(String taskId) {
    return tasks.retryTask(
        RetryTaskRequest.newBuilder().setSessionId(sessionId).setTaskId(taskId).setActor(actor).build());
  }

  /** Runs a task again whose work threw this. */
  private SessionTask retryAfter(SessionTask failed, int attempt, Throwable thrown) {
    String taskId = newId(); // Ours, so that a run of which nothing is known can be failed.
    try {
      return retry(taskId);
    } catch (SessiondException e) {
      SessionTask seen = Calls.passesByItself(e) ? failUnconfirmed(taskId, e).orElse(failed) : failed;
      TaskException.Failed why = new TaskException.Failed(seen, attempt, thrown);
      why.addSuppressed(e);
      throw why;
    }
  }

  /** Fails a run that may have begun, though nobody has said so: the daemon would wait for its worker. */
  private Optional<SessionTask> failUnconfirmed(String taskId, SessiondException why) {
    SessionError error =
        errorOf(why, false).toBuilder()
            .setCategory(SessionError.Category.TEMPORARY)
            .setUserMessage("The " + taskType + " task was not run again.")
            .build();
    try {
      return Optional.of(failTask(failureOf(taskId, why, error)));
    } catch (SessiondException e) {
      return Optional.empty(); // It has not begun.
    }
  }

  private static String newId() {
    return UUID.randomUUID().toString();
  }

  /** Waits; false if the thread was interrupted meanwhile, or the client closed. */
  private boolean sleep(Duration pause) {
    CountDownLatch closed = new CountDownLatch(1);
    Runnable closing = closed::countDown;
    calls.atClose(closing);
    try {
      return !calls.isClosed() && !closed.await(pause.toNanos(), TimeUnit.NANOSECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    } finally {
      calls.notAtClose(closing);
    }
  }

  /** Makes a call that ends a task. An interrupt cancels it; then the same one is made again. */
  private static SessionTask uninterrupted(Supplier<SessionTask> call) {
    boolean interrupted = Thread.interrupted();
    try {
      while (true) {
        try {
          return call.get();
        } catch (SessiondException.Cancelled e) {
          if (!Thread.interrupted()) throw e;
          interrupted = true;
        }
      }
    } finally {
      if (interrupted) Thread.currentThread().interrupt();
    }
  }

  private SessionTask complete(RunningTask running, Struct result) {
    throwIfNotOurs(running, null);
    CompleteTaskRequest.Builder request =
        CompleteTaskRequest.newBuilder()
            .setSessionId(sessionId)
            .setRequestId(newId())
            .setTaskId(running.taskId())
            .setAdvanceToStage(endStage)
            .setActor(actor);
    if (result.getFieldsCount() > 0) request.setResult(result);
    // An interrupted thread cannot call. The work is done: whom it interrupts is the caller.
    boolean interrupted = Thread.interrupted();
    try {
      return uninterrupted(() -> tasks.completeTask(request.build()));
    } catch (SessiondException e) {
      // What may have taken effect, or may yet, is nobody's failure.
      if (Calls.passesByItself(e)) throw e;
      try {
        tellFailure(running, e, false);
      } catch (SessiondException failing) {
        throwIfNotOurs(running, failing);
        e.addSuppressed(failing);
      }
      throw e;
    } finally {
      if (interrupted) Thread.currentThread().interrupt();
    }
  }

  /** Fails the task. Returns it. */
  private SessionTask fail(RunningTask running, Throwable thrown, boolean attemptsLeft) {
    // An interrupted thread cannot call.
    boolean interrupted = Thread.interrupted() || thrown instanceof InterruptedException;
    try {
      return tellFailure(running, thrown, attemptsLeft && !interrupted);
    } catch (SessiondException e) {
      try {
        throwIfNotOurs(running, e);
      } catch (TaskException gone) {
        gone.addSuppressed(thrown);
        throw gone;
      }
      if (thrown instanceof Error error) {
        error.addSuppressed(e);
        throw error;
      }
      TaskException.Failed failed = new TaskException.Failed(running.task(), running.attempt(), thrown);
      failed.addSuppressed(e);
      throw failed;
    } finally {
      if (interrupted && running.fate() == RunningTask.Fate.OURS) Thread.currentThread().interrupt();
    }
  }

  /** Throws if the task is no longer ours. */
  private SessionTask tellFailure(RunningTask running, Throwable thrown, boolean attemptsLeft) {
    throwIfNotOurs(running, thrown);
    SessionTask task = running.task();
    boolean retried =
        attemptsLeft && !(thrown instanceof Error) && task.getRetryCount() + 1 < task.getMaxRetries();
    return failTask(failureOf(running.taskId(), thrown, errorOf(thrown, retried)));
  }

  private FailTaskRequest failureOf(String taskId, Throwable thrown, SessionError error) {
    return FailTaskRequest.newBuilder()
        .setSessionId(sessionId)
        .setRequestId(newId())
        .setTaskId(taskId)
        .setFailureContext(Values.struct(Map.of("message", messageOf(thrown), "type", typeOf(thrown))))
        .setError(error)
        .setActor(actor)
        .build();
  }

  private SessionTask failTask(FailTaskRequest request) {
    try {
      return uninterrupted(() -> tasks.failTask(request));
    } catch (SessiondException.InvalidArgument | SessiondException.ResourceExhausted e) {
      if (Calls.passesByItself(e)) throw e;
      // The details are the work's own, and may be longer than the daemon takes. The task must not stay for them.
      FailTaskRequest.Builder without = request.toBuilder().setRequestId(newId());
      without
          .getErrorBuilder()
          .setTechnicalDetails(Values.struct(Map.of("details_left_out", fit(e.getMessage(), MESSAGE_MAX))));
      return uninterrupted(() -> tasks.failTask(without.build()));
    }
  }

  /** Looks the task up if it was refused; throws if it is no longer ours. */
  private void throwIfNotOurs(RunningTask running, Throwable thrown) {
    boolean refused =
        thrown instanceof SessiondException.FailedPrecondition || thrown instanceof SessiondException.NotFound;
    if (refused) running.lookUp((SessiondException) thrown);
    Throwable cause = thrown == null ? running.fateCause() : thrown;
    switch (running.fate()) {
      case CANCELLED -> throw new TaskException.Cancelled(running.task(), running.attempt(), cause);
      case LOST -> throw new TaskException.Lost(running.task(), running.attempt(), cause);
      case OURS -> {}
    }
  }

  private SessionError errorOf(Throwable thrown, boolean retried) {
    SessionError.Builder error = SessionError.newBuilder();
    if (thrown instanceof TaskFailure failure) {
      error
          .mergeFrom(failure.error())
          .setUserMessage(fit(failure.error().getUserMessage(), MESSAGE_MAX))
          .setErrorCode(fit(failure.error().getErrorCode().replaceAll("[\n\t]", " "), CODE_MAX))
          .clearRecoveryActions();
      failure.error().getRecoveryActionsList().stream()
          .map(action -> fit(action, ACTION_MAX))
          .filter(action -> !isBlank(action))
          .limit(ACTIONS_MAX)
          .forEach(error::addRecoveryActions);
    } else {
      List<String> frames =
          Arrays.stream(thrown.getStackTrace())
              .limit(FRAMES_MAX)
              .map(frame -> fit(frame.toString(), FRAME_MAX))
              .collect(Collectors.toList());
      error
          .setErrorCode(typeOf(thrown))
          .setTechnicalDetails(
              Values.struct(Map.of("message", messageOf(thrown), "type", typeOf(thrown), "stack", frames)));
    }
    if (error.getCategory() == SessionError.Category.CATEGORY_UNSPECIFIED) {
      error.setCategory(retried ? SessionError.Category.TEMPORARY : SessionError.Category.ADMIN_REQUIRED);
    }
    if (error.getSeverity() == SessionError.Severity.SEVERITY_UNSPECIFIED) {
      error.setSeverity(SessionError.Severity.WARNING);
    }
    if (isBlank(error.getUserMessage())) {
      error.setUserMessage("The " + taskType + " task failed" + (retried ? ", and is tried again." : "."));
    }
    return error.build();
  }

  private static String messageOf(Throwable thrown) {
    return fit(thrown.getMessage() == null ? thrown.toString() : thrown.getMessage(), MESSAGE_MAX);
  }

  private static String typeOf(Throwable thrown) {
    return fit(thrown.getClass().getName(), CODE_MAX);
  }

  /** The text's beginning as the contract takes it: without control characters and halves of characters. */
  private static String fit(String text, int bytesMax) {
    StringBuilder fit = new StringBuilder();
    int bytes = 0;
    for (int given : text.codePoints().limit(bytesMax).toArray()) {
      boolean control = Character.isISOControl(given) && given != '\n' && given != '\t';
      int c = control || Values.isHalf(given) ? 0xFFFD : given;
      bytes += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
      if (bytes > bytesMax) break;
      fit.appendCodePoint(c);
    }
    return fit.toString();
  }

  /** Whether there is nothing to read in the text: the daemon refuses such a message. */
  private static boolean isBlank(String text) {
    return text.codePoints()
        .allMatch(
            c ->
                Character.isWhitespace(c)
                    || Character.isSpaceChar(c)
                    || Character.isISOControl(c)
                    || Character.getType(c) == Character.FORMAT);
  }
}
