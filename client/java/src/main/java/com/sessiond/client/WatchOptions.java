package com.sessiond.client;

import java.time.Duration;
import java.util.Optional;

/** How a watch goes on. */
public final class WatchOptions {
  private Duration silence;
  private TokenStore tokens;

  /**
   * After how long without a response the daemon is taken for dead, and the watch resumed on another connection.
   * Default: three heartbeat intervals, and at least 40 s before a stream's bookmark, because the daemon may read for
   * 30 s before it sends anything.
   */
  public WatchOptions silence(Duration silence) {
    if (silence.isNegative() || silence.isZero()) {
      throw new IllegalArgumentException("silence is " + silence + "; it has to be longer than nothing");
    }
    this.silence = silence;
    return this;
  }

  /**
   * Where the watch begins, and keeps its position: behind the last item that was dealt with. With a token in it the
   * request's initial_state is not asked for again.
   */
  public WatchOptions tokens(TokenStore tokens) {
    this.tokens = tokens;
    return this;
  }

  Optional<Duration> silence() {
    return Optional.ofNullable(silence);
  }

  Optional<TokenStore> tokens() {
    return Optional.ofNullable(tokens);
  }
}
