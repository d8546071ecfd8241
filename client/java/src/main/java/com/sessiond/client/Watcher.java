package com.sessiond.client;

import com.sessiond.v1.SessionChange;
import com.sessiond.v1.SessionServiceGrpc;
import com.sessiond.v1.WatchSessionsRequest;
import com.sessiond.v1.WatchSessionsResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A watch that resumes by itself, after lost connections and restarts of the daemon: the initial state, if it was asked
 * for; then one bookmark, and then every change once and in order, however often the stream breaks off.
 *
 * <pre>{@code
 * try (Watcher watcher = client.watch(r -> r.addSessionIds(id))) {
 *   for (WatchItem item : watcher) {
 *     if (item instanceof WatchItem.Change change) System.out.println(change.event().getType());
 *   }
 * }
 * }</pre>
 *
 * <p>The loop waits for ever, if necessary. It ends after {@link #close}, or with a {@link SessiondException} that
 * waiting cannot cure: an INVALID_FILTER, for example, or RESUME_TOKEN_EXPIRED, after which a new watch is needed, with
 * initial_state and without a token.
 *
 * <p>One thread at a time may read; any may close. Only one response is read ahead: a slow reader slows the daemon's
 * sending down.
 */
public final class Watcher implements Iterable<WatchItem>, AutoCloseable {
  private static final String METHOD = SessionServiceGrpc.getWatchSessionsMethod().getFullMethodName();
  // The daemon's default when the request does not set it.
  private static final Duration HEARTBEAT_DEFAULT = Duration.ofSeconds(15);
  // Three: one may be late, and one lost with a connection that recovers.
  private static final int HEARTBEATS_MISSED = 3;
  // The daemon's longest read takes 30 s, and it may send nothing before that ends.
  private static final Duration SILENCE_AT_FIRST = Duration.ofSeconds(40);

  private final Calls calls;
  private final WatchOptions options;
  private final Runnable closing = this::close;
  // The reader's trace and the like, also for the streams that come later.
  private final Context context = Context.current().fork();

  // Only for the thread that reads.
  private final Backoff backoff;
  private WatchSessionsRequest request;
  private boolean heard; // Any response was received.
  private boolean told; // A part of the initial state was given to the caller.
  private boolean toldBookmark; // It was given to the caller.
  private boolean bookmarked; // The present stream has sent its bookmark.
  private boolean broken; // There was an error, and no response since.
  private long resumeAt = System.nanoTime();
  private long heardAt;
  private String saved = "";
  private WatchSessionsResponse behindRestart;

  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  // Below: under the lock.
  private Stream stream;
  private String resumeToken;
  private boolean closed;

  Watcher(Calls calls, WatchSessionsRequest request, WatchOptions options) {
    this.calls = calls;
    this.options = options;
    this.backoff = calls.settings().backoff();
    String token = options.tokens().flatMap(TokenStore::load).orElse("");
    this.request =
        token.isEmpty() ? request : request.toBuilder().setResumeToken(token).setInitialState(false).build();
    Texts.checked(METHOD, this.request);
    this.resumeToken = this.request.getResumeToken();
    this.saved = resumeToken;
    calls.atClose(closing);
  }

  /** The items, from where the watch stands; there is no beginning to go back to. */
  @Override
  public Iterator<WatchItem> iterator() {
    return new Iterator<>() {
      private WatchItem next;

      @Override
      public boolean hasNext() {
        while (next == null && !isClosed()) next = poll(Duration.ofDays(1)).orElse(null);
        return next != null;
      }

      @Override
      public WatchItem next() {
        if (!hasNext()) throw new NoSuchElementException("The watch is closed");
        WatchItem item = next;
        next = null;
        return item;
      }
    };
  }

  /**
   * The next item; empty when none comes in that time, or the watch is closed. It says that the item before was dealt
   * with, and saves its token.
   */
  public Optional<WatchItem> poll(Duration timeout) {
    save();
    long deadline = System.nanoTime() + timeout.toNanos();
    while (true) {
      if (behindRestart != null) {
        WatchSessionsResponse response = behindRestart;
        behindRestart = null;
        Optional<WatchItem> item = item(response);
        if (item.isPresent()) return item;
        continue;
      }
      Stream open = open(deadline);
      if (open == null) return Optional.empty();
      Taken taken = open.take(Math.min(deadline - heardAt, silenceMax().toNanos()) + heardAt);
      if (taken.response() != null) {
        if (note(taken.response())) {
          behindRestart = taken.response();
          return Optional.of(new WatchItem.Restart());
        }
        Optional<WatchItem> item = item(taken.response());
        if (item.isPresent()) return item;
        save(); // A heartbeat: nothing is left to deal with.
      } else if (isClosed()) {
        return Optional.empty();
      } else if (taken.status() != null) {
        breakOff(SessiondException.of(METHOD, taken.status(), taken.trailers(), taken.status().getCause()));
      } else if (System.nanoTime() - heardAt >= silenceMax().toNanos()) {
        calls.leaveConnection();
        Status silence = Status.UNAVAILABLE.withDescription("Nothing was heard for " + silenceMax());
        breakOff(SessiondException.of(METHOD, silence, null, null));
      } else {
        return Optional.empty();
      }
    }
  }

  /**
   * The position behind the last item that was given: a watch with this resume_token misses nothing and repeats
   * nothing. A token from before the bookmark starts the initial state again. Until the first response it is the
   * request's own.
   */
  public String resumeToken() {
    lock.lock();
    try {
      return resumeToken;
    } finally {
      lock.unlock();
    }
  }

  /** Whether it was closed. */
  public boolean isClosed() {
    lock.lock();
    try {
      return closed;
    } finally {
      lock.unlock();
    }
  }

  /**
   * Ends the watch, and the loop over it. Any thread. The token of the last item is not saved by it: call {@link
   * #processed} before, if it was dealt with.
   */
  @Override
  public void close() {
    lock.lock();
    try {
      closed = true;
      changed.signalAll();
      if (stream != null) stream.call.cancel("The watch was closed", null);
      stream = null;
    } finally {
      lock.unlock();
    }
    calls.notAtClose(closing);
  }

  /** Says that the last item was dealt with, and saves its token. The next item says so, too. */
  public void processed() {
    save();
  }

  private void save() {
    String token = resumeToken();
    if (options.tokens().isEmpty() || behindRestart != null || token.equals(saved)) return;
    options.tokens().get().save(token);
    saved = token;
  }

  /** The present stream, or a new one when its time has come; null when the deadline comes first, and when closed. */
  private Stream open(long deadline) {
    lock.lock();
    try {
      while (!closed && stream == null && System.nanoTime() - resumeAt < 0) {
        if (System.nanoTime() - deadline >= 0) return null;
        await(Math.min(resumeAt - System.nanoTime(), deadline - System.nanoTime()));
      }
      if (closed) return null;
      if (stream == null) {
        // The token says whether the initial state was complete. Asking for both is refused.
        if (heard) request = request.toBuilder().setInitialState(false).setResumeToken(resumeToken).build();
        stream = new Stream();
        bookmarked = false;
        heardAt = System.nanoTime();
        context.run(() -> stream.start(request));
      }
      return stream;
    } finally {
      lock.unlock();
    }
  }

  private Duration silenceMax() {
    if (options.silence().isPresent()) return options.silence().get();
    Duration heartbeat =
        request.hasHeartbeatInterval() ? Values.duration(request.getHeartbeatInterval()) : HEARTBEAT_DEFAULT;
    Duration silence = heartbeat.multipliedBy(HEARTBEATS_MISSED);
    return bookmarked || silence.compareTo(SILENCE_AT_FIRST) > 0 ? silence : SILENCE_AT_FIRST;
  }

  /** Records that there was a response. Returns whether the initial state starts again with it. */
  private boolean note(WatchSessionsResponse response) {
    heardAt = System.nanoTime();
    heard = true;
    backoff.reset();
    boolean restart = broken && told && !toldBookmark;
    if (broken) {
      Calls.LOG.log(Level.DEBUG, "The watch is heard again");
      calls.settings().tell(ClientListener::onWatchResumed);
    }
    broken = false;
    if (restart) told = false;
    return restart;
  }

  private void moveOn(WatchSessionsResponse response) {
    lock.lock();
    try {
      resumeToken = response.getResumeToken();
    } finally {
      lock.unlock();
    }
  }

  /** What the caller is told of a response. */
  private Optional<WatchItem> item(WatchSessionsResponse response) {
    moveOn(response);
    switch (response.getKindCase()) {
      case SESSION:
        told = true;
        return Optional.of(new WatchItem.State(response.getSession()));
      case CHANGE:
        told = true;
        SessionChange change = response.getChange();
        return Optional.of(
            new WatchItem.Change(
                change.getEvent(),
                change.hasSession() ? Optional.of(change.getSession()) : Optional.empty(),
                change.getMessagesList(),
                response.getMatches()));
      case BOOKMARK:
        bookmarked = true;
        if (toldBookmark) return Optional.empty();
        toldBookmark = true;
        return Optional.of(new WatchItem.Bookmark());
      default:
        return Optional.empty();
    }
  }

  /** Ends the stream; throws what waiting cannot cure. */
  private void breakOff(SessiondException why) {
    lock.lock();
    try {
      if (stream != null) stream.call.cancel("Broken off", null);
      stream = null;
    } finally {
      lock.unlock();
    }
    if (!Calls.passesByItself(why) || calls.isClosed()) {
      close();
      throw why;
    }
    broken = true;
    // A pushback that forbids a retry is not meant here: what resumes is another call, with another token.
    Duration pause = backoff.next(why);
    Calls.LOG.log(Level.DEBUG, "The watch broke off, and is resumed in {0}: {1}", pause, why.getMessage());
    calls.settings().tell(listener -> listener.onWatchBroken(why, pause));
    calls.reconnect();
    resumeAt = System.nanoTime() + pause.toNanos();
  }

  // REQUIRES: the lock is held.
  private void await(long nanos) {
    try {
      changed.awaitNanos(nanos);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw SessiondException.of(METHOD, Status.CANCELLED.withDescription("The thread was interrupted"), null, e);
    }
  }

  /** A response, or the status that the stream ended with; neither when the time was over. */
  private record Taken(WatchSessionsResponse response, Status status, Metadata trailers) {}

  /** One stream, from its request to its status. */
  private final class Stream extends ClientCall.Listener<WatchSessionsResponse> {
    private final ClientCall<WatchSessionsRequest, WatchSessionsResponse> call =
        calls.channel().newCall(SessionServiceGrpc.getWatchSessionsMethod(), CallOptions.DEFAULT);
    // Below: under the watcher's lock.
    private WatchSessionsResponse response;
    private Status status;
    private Metadata trailers;

    void start(WatchSessionsRequest request) {
      call.start(this, new Metadata());
      call.request(1);
      call.sendMessage(request);
      call.halfClose();
    }

    Taken take(long deadline) {
      WatchSessionsResponse taken;
      lock.lock();
      try {
        while (response == null && status == null && !closed) {
          long left = deadline - System.nanoTime();
          if (left <= 0) return new Taken(null, null, null);
          await(left);
        }
        if (closed) return new Taken(null, null, null);
        if (response == null) return new Taken(null, status, trailers);
        taken = response;
        response = null;
      } finally {
        lock.unlock();
      }
      call.request(1);
      return new Taken(taken, null, null);
    }

    @Override
    public void onMessage(WatchSessionsResponse message) {
      lock.lock();
      try {
        response = message;
        changed.signalAll();
      } finally {
        lock.unlock();
      }
    }

    @Override
    public void onClose(Status end, Metadata endTrailers) {
      lock.lock();
      try {
        status = end.isOk() ? Status.UNAVAILABLE.withDescription("The stream was ended") : end;
        trailers = endTrailers;
        changed.signalAll();
      } finally {
        lock.unlock();
      }
    }
  }
}
