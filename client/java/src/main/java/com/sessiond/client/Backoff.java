package com.sessiond.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Pauses that double, each drawn from its upper half, so that many clients do not return at the same time. Not
 * thread-safe.
 */
final class Backoff {
  private final Duration initial;
  private final Duration max;
  private Duration next;

  Backoff(Duration initial, Duration max) {
    this.initial = initial;
    this.max = max;
    this.next = initial;
  }

  /** The next pause. */
  Duration next() {
    double share = ThreadLocalRandom.current().nextDouble(0.5, 1.0);
    Duration pause = Duration.ofNanos((long) (next.toNanos() * share));
    next = next.multipliedBy(2).compareTo(max) < 0 ? next.multipliedBy(2) : max;
    return pause;
  }

  /** The pause after this error; not shorter than its RetryInfo or its pushback says. */
  Duration next(SessiondException why) {
    Duration pause = longer(next(), why.retryAfter().orElse(Duration.ZERO));
    return longer(pause, why.pushback().orElse(Duration.ZERO));
  }

  /** Call this after a success. */
  void reset() {
    next = initial;
  }

  private static Duration longer(Duration a, Duration b) {
    return a.compareTo(b) >= 0 ? a : b;
  }
}
