package com.sessiond.client;

import com.sessiond.v1.AdminServiceGrpc;
import com.sessiond.v1.ImportSessionsRequest;
import com.sessiond.v1.ImportSessionsResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** An import: one stream after the other, each beginning with what the one before left unanswered. */
final class ImportStream {
  private static final String METHOD = AdminServiceGrpc.getImportSessionsMethod().getFullMethodName();
  // So much is sent ahead of its answers: enough for the daemon to put into one transaction what comes together.
  private static final int WINDOW_SESSIONS = 256;
  private static final long WINDOW_BYTES = 8 << 20;
  // A session takes the daemon milliseconds, and no change waits longer than a minute.
  private static final Duration SILENCE_MAX = Duration.ofSeconds(60);

  private final Calls calls;
  private final Iterator<ImportSessionsRequest> source;
  private final Consumer<ImportSessionsResponse> answered;
  private final Backoff backoff;

  private final Deque<ImportSessionsRequest> unanswered = new ArrayDeque<>();
  private long unansweredBytes;
  private long answeredAt = System.nanoTime();
  private boolean failing;

  ImportStream(Calls calls, Iterator<ImportSessionsRequest> source, Consumer<ImportSessionsResponse> answered) {
    this.calls = calls;
    this.source = source;
    this.answered = answered;
    this.backoff = calls.settings().backoff();
  }

  void run() {
    while (true) {
      Stream stream = new Stream();
      try {
        unanswered.forEach(stream.call::sendMessage);
        while (unanswered.size() > 0 || source.hasNext()) {
          if (hasRoom() && source.hasNext()) {
            ImportSessionsRequest next = Texts.checked(METHOD, source.next());
            unanswered.add(next);
            unansweredBytes += next.getSerializedSize();
            stream.call.sendMessage(next);
            for (Object heard = stream.heard.poll(); heard != null; heard = stream.heard.poll()) note(heard);
          } else {
            note(stream.await());
          }
        }
        stream.call.halfClose();
        return;
      } catch (Broken e) {
        stream.call.cancel("Given up", null);
        pauseOrThrow(e.why);
      } catch (RuntimeException e) { // The caller's own, of the source or of the answers.
        stream.call.cancel("Given up", e);
        throw e;
      }
    }
  }

  private boolean hasRoom() {
    return unanswered.size() < WINDOW_SESSIONS && unansweredBytes < WINDOW_BYTES;
  }

  private void note(Object heard) throws Broken {
    if (heard instanceof SessiondException end) throw new Broken(end);
    unansweredBytes -= unanswered.remove().getSerializedSize();
    answeredAt = System.nanoTime();
    failing = false;
    backoff.reset();
    answered.accept((ImportSessionsResponse) heard);
  }

  private void pauseOrThrow(SessiondException why) {
    if (!Calls.passesByItself(why) || calls.isClosed()) throw why;
    if (!failing) answeredAt = System.nanoTime(); // Since the errors began.
    failing = true;
    Duration pause = backoff.next(why);
    if (System.nanoTime() + pause.toNanos() - answeredAt > calls.settings().timeout().toNanos()) throw why;
    Calls.LOG.log(Level.DEBUG, "The import goes on in {0}: {1}", pause, why.getMessage());
    calls.settings().tell(listener -> listener.onRetry(METHOD, why, pause));
    calls.reconnect();
    try {
      TimeUnit.NANOSECONDS.sleep(pause.toNanos());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw why;
    }
  }

  /** The stream is; not to be confused with what the caller's own code throws. */
  private static final class Broken extends Exception {
    private static final long serialVersionUID = 1L;

    final SessiondException why;

    Broken(SessiondException why) {
      super(why);
      this.why = why;
    }
  }

  private final class Stream extends ClientCall.Listener<ImportSessionsResponse> {
    final ClientCall<ImportSessionsRequest, ImportSessionsResponse> call =
        calls.channel().newCall(AdminServiceGrpc.getImportSessionsMethod(), CallOptions.DEFAULT);
    // Responses, and at last a SessiondException.
    final BlockingQueue<Object> heard = new LinkedBlockingQueue<>();

    Stream() {
      call.start(this, new Metadata());
      call.request(Integer.MAX_VALUE); // The window bounds them.
    }

    Object await() {
      Status status;
      try {
        Object next = heard.poll(SILENCE_MAX.toNanos(), TimeUnit.NANOSECONDS);
        if (next != null) return next;
        calls.leaveConnection();
        status = Status.UNAVAILABLE.withDescription("Nothing was answered for " + SILENCE_MAX);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        // No code that is tried again.
        status = Status.ABORTED.withDescription("The thread was interrupted").withCause(e);
      }
      return SessiondException.of(METHOD, status, null, status.getCause());
    }

    @Override
    public void onMessage(ImportSessionsResponse response) {
      heard.add(response);
    }

    @Override
    public void onClose(Status end, Metadata trailers) {
      Status status = end.isOk() ? Status.UNAVAILABLE.withDescription("The stream was ended") : end;
      heard.add(SessiondException.of(METHOD, status, trailers, status.getCause()));
    }
  }
}
