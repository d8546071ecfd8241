package com.sessiond.client;

import java.util.Map;

/** The work of a task. */
@FunctionalInterface
public interface TaskWork {
  /**
   * Does it. When the task is cancelled, or lost to another worker, the thread is interrupted.
   *
   * @return what it brought, as {@link Values#struct} takes it; null for nothing
   * @throws Exception when it failed; a {@link TaskFailure} says what to record
   */
  Map<String, ?> run(RunningTask task) throws Exception;
}
