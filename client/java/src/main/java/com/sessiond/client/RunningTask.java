package com.sessiond.client;

import com.google.protobuf.Struct;
import com.sessiond.v1.ReportTaskProgressRequest;
import com.sessiond.v1.SessionTask;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** One run of a task, as its work sees it; and the heartbeats beside it. Thread-safe. */
public final class RunningTask {
  /** What became of the task meanwhile. */
  enum Fate {
    OURS,
    CANCELLED,
    LOST
  }

  private final TaskClient tasks;
  private final Calls calls;
  private final int attempt;

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  // Below: under the lock.
  private SessionTask seen;
  private Fate fate = Fate.OURS;
  private SessiondException fateCause;
  // Whose work is interrupted when nobody wants it any more; null before it begins and when it is over.
  private Thread worker;
  private boolean interrupted;
  private boolean over;

  RunningTask(TaskClient tasks, Calls calls, SessionTask started, int attempt) {
    this.tasks = tasks;
    this.calls = calls;
    this.seen = started;
    this.attempt = attempt;
  }

  /** The session's id. */
  public String sessionId() {
    return task().getSessionId();
  }

  /** This run's id; a retry has another. */
  public String taskId() {
    return task().getTaskId();
  }

  /** 1 for the first run of the work, 2 for its first retry, … */
  public int attempt() {
    return attempt;
  }

  /** The task, as it was seen last. */
  public SessionTask task() {
    lock.lock();
    try {
      return seen;
    } finally {
      lock.unlock();
    }
  }

  /**
   * Tells how far it has come; replaces what was said before, and counts as a heartbeat. Throws CancellationException
   * when nobody wants the work any more.
   */
  public void progress(Map<String, ?> progress) {
    throwIfCancelled();
    report(Values.struct(progress));
    throwIfCancelled();
  }

  /** Whether nobody wants the work any more: the task was cancelled, or is no longer this worker's. */
  public boolean isCancelled() {
    return fate() != Fate.OURS;
  }

  /** Throws CancellationException when nobody wants the work any more. */
  public void throwIfCancelled() {
    switch (fate()) {
      case CANCELLED -> throw new CancellationException("The task was cancelled");
      case LOST -> throw new CancellationException("The task is no longer this worker's");
      case OURS -> {}
    }
  }

  Fate fate() {
    lock.lock();
    try {
      return fate;
    } finally {
      lock.unlock();
    }
  }

  SessiondException fateCause() {
    lock.lock();
    try {
      return fateCause;
    } finally {
      lock.unlock();
    }
  }

  /** Runs the work on this thread, with heartbeats on another. */
  Map<String, ?> run(TaskWork work, Duration interval) throws Exception {
    Thread heart = new Thread(io.grpc.Context.current().wrap(() -> beat(interval)), "sessiond-heartbeat-" + taskId());
    heart.setDaemon(true);
    lock.lock();
    worker = Thread.currentThread();
    lock.unlock();
    Runnable closing = this::lose;
    calls.atClose(closing);
    heart.start();
    try {
      return work.run(this);
    } finally {
      calls.notAtClose(closing);
      lock.lock();
      worker = null;
      over = true;
      changed.signalAll();
      if (interrupted) Thread.interrupted(); // It was ours, and has done its duty.
      lock.unlock();
    }
  }

  /** Finds out what became of the task after a report was refused. Returns whether it is no longer ours. */
  boolean lookUp(SessiondException why) {
    SessionTask found;
    try {
      found = tasks.getTask(r -> r.setSessionId(sessionId()).setIncludeDeleted(true));
    } catch (SessiondException.NotFound e) {
      decide(Fate.LOST, null, why); // Archived or erased meanwhile.
      return true;
    } catch (SessiondException e) {
      return false;
    }
    if (!found.getTaskId().equals(taskId())) {
      decide(Fate.LOST, null, why);
    } else if (found.getStatus() == SessionTask.Status.CANCELLED) {
      decide(Fate.CANCELLED, found, why);
    } else if (found.getStatus() != SessionTask.Status.RUNNING) {
      decide(Fate.LOST, found, why);
    }
    return isCancelled();
  }

  /** The client is closed: nothing can be reported any more. */
  private void lose() {
    decide(Fate.LOST, null, null);
  }

  private void decide(Fate decided, SessionTask found, SessiondException why) {
    lock.lock();
    try {
      if (found != null) seen = found;
      if (fate != Fate.OURS) return;
      fate = decided;
      fateCause = why;
      changed.signalAll();
      if (worker != null) {
        interrupted = true;
        worker.interrupt();
      }
    } finally {
      lock.unlock();
    }
  }

  private void beat(Duration interval) {
    while (true) {
      lock.lock();
      try {
        long left = interval.toNanos();
        while (left > 0 && !over && fate == Fate.OURS) left = changed.awaitNanos(left);
        if (over || fate != Fate.OURS) return;
      } catch (InterruptedException e) {
        return; // Nobody does.
      } finally {
        lock.unlock();
      }
      try {
        report(null);
      } catch (SessiondException e) {
        Calls.LOG.log(Level.WARNING, "A heartbeat of task {0} failed: {1}", taskId(), e.getMessage());
        calls.settings().tell(listener -> listener.onHeartbeatMissed(sessionId(), taskId(), e));
      }
    }
  }

  private void report(Struct progress) {
    ReportTaskProgressRequest.Builder request =
        ReportTaskProgressRequest.newBuilder().setSessionId(sessionId()).setTaskId(taskId());
    if (progress != null) request.setProgress(progress);
    SessionTask answer;
    try {
      answer = tasks.reportTaskProgress(request.build());
    } catch (SessiondException.FailedPrecondition | SessiondException.NotFound e) {
      if (lookUp(e)) return;
      throw e;
    }
    lock.lock();
    try {
      if (fate == Fate.OURS) seen = answer;
    } finally {
      lock.unlock();
    }
  }
}
