package com.sessiond.client;

import com.sessiond.v1.SessionTask;

/** A run of a task that did not end well. */
public abstract class TaskException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final SessionTask task;
  private final int attempts;

  private TaskException(String message, SessionTask task, int attempts, Throwable cause) {
    super(message, cause);
    this.task = task;
    this.attempts = attempts;
  }

  /** The task, as it was seen last. */
  public final SessionTask task() {
    return task;
  }

  /** How often the work was run. */
  public final int attempts() {
    return attempts;
  }

  /** The work failed, and is not, or no more, retried. The cause is what it threw last. */
  public static final class Failed extends TaskException {
    private static final long serialVersionUID = 1L;

    Failed(SessionTask task, int attempts, Throwable cause) {
      super("The " + task.getTaskType() + " task failed: " + cause.getMessage(), task, attempts, cause);
    }
  }

  /** Somebody cancelled the task, or stopped, failed or deleted its session. */
  public static final class Cancelled extends TaskException {
    private static final long serialVersionUID = 1L;

    Cancelled(SessionTask task, int attempts, Throwable cause) {
      super("The " + task.getTaskType() + " task was cancelled", task, attempts, cause);
    }
  }

  /** The task is no longer this worker's: it was failed for silence, or another run has replaced it. */
  public static final class Lost extends TaskException {
    private static final long serialVersionUID = 1L;

    Lost(SessionTask task, int attempts, Throwable cause) {
      super("The " + task.getTaskType() + " task is no longer this worker's", task, attempts, cause);
    }
  }
}
