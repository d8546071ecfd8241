package com.sessiond.client;

import java.time.Duration;

/**
 * Told what a client does by itself: for counters, traces and logs of one's own. The same is logged through {@link
 * System.Logger} {@code com.sessiond.client}. Methods are called on the thread that made the call. An exception that
 * they throw is logged, and changes nothing for the call; an Error goes on.
 */
public interface ClientListener {
  /** A call was answered UNAVAILABLE, and is made again after the pause. */
  default void onRetry(String method, SessiondException why, Duration pause) {}

  /** A watch broke off, and is resumed after the pause. */
  default void onWatchBroken(SessiondException why, Duration pause) {}

  /** A watch is heard again after it broke off. */
  default void onWatchResumed() {}

  /** A task's heartbeat failed for a reason that passes; the next one comes in its turn. */
  default void onHeartbeatMissed(String sessionId, String taskId, SessiondException why) {}
}
