package com.sessiond.client;

import static com.sessiond.client.FakeDaemon.pushback;
import static com.sessiond.client.FakeDaemon.refusal;
import static com.sessiond.client.FakeDaemon.retryAfter;
import static com.sessiond.client.FakeDaemon.stream;
import static com.sessiond.client.WatcherTest.bookmark;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ListValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.sessiond.v1.ErrorReason;
import com.sessiond.v1.ImportSessionsRequest;
import com.sessiond.v1.PauseSessionRequest;
import com.sessiond.v1.Session;
import com.sessiond.v1.SessionArtifact;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.channels.ClosedChannelException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

class RetriesTest {
  private static final Session PAUSED = Session.newBuilder().setState(Session.State.PAUSED).build();
  private static final StatusRuntimeException BUSY =
      refusal(Status.Code.UNAVAILABLE, "LOCK_TIMEOUT", "TEMPORARY");

  @AutoClose private final FakeDaemon daemon = new FakeDaemon();
  @AutoClose private final SessiondClient client = daemon.client();

  @Test
  void unavailableIsTriedAgainWithTheSameRequestId() {
    daemon.answers(BUSY, BUSY, PAUSED);
    assertEquals(Session.State.PAUSED, client.sessions().pauseSession(r -> r.setSessionId("s")).getState());
    List<String> ids = requestIds();
    assertEquals(3, ids.size());
    assertEquals(36, ids.get(0).length());
    assertEquals(1, ids.stream().distinct().count());
  }

  @Test
  void everyChangeHasARequestIdOfItsOwn() {
    daemon.answers(PAUSED, PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("s"));
    client.sessions().pauseSession(r -> r.setSessionId("s"));
    assertNotEquals(requestIds().get(0), requestIds().get(1));
  }

  @Test
  void aRequestIdThatIsGivenIsKept() {
    daemon.answers(PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("s").setRequestId("mine"));
    assertEquals(List.of("mine"), requestIds());
  }

  @ParameterizedTest
  @EnumSource(value = Status.Code.class, mode = Mode.EXCLUDE, names = {"OK", "UNAVAILABLE"})
  void noOtherCodeIsTriedAgain(Status.Code code) {
    daemon.answers(refusal(code, "CONFLICT", "TEMPORARY", retryAfter(Duration.ofMillis(1))), PAUSED);
    SessiondException thrown =
        assertThrows(SessiondException.class, () -> client.sessions().pauseSession(r -> r.setSessionId("s")));
    assertEquals(code, thrown.code());
    assertEquals(1, daemon.requests.size());
  }

  @Test
  void aLostConnectionIsUnavailableWhateverGrpcCallsIt() {
    daemon.answers(Status.UNKNOWN.withCause(new ClosedChannelException()).asRuntimeException(), PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("s"));
    assertEquals(1, requestIds().stream().distinct().count());
    assertEquals(2, daemon.requests.size());
  }

  @Test
  void retryInfoIsObeyed() {
    daemon.answers(
        refusal(Status.Code.UNAVAILABLE, "DRAINING", "TEMPORARY", retryAfter(Duration.ofMillis(400))), PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("s"));
    assertTrue(daemon.pause(0).toMillis() >= 400, daemon.pause(0).toString());
  }

  @Test
  void pushbackIsObeyed() {
    daemon.answers(pushback("300"), PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("s"));
    assertTrue(daemon.pause(0).toMillis() >= 300, daemon.pause(0).toString());
  }

  @Test
  void aPushbackThatForbidsARetryIsObeyed() {
    daemon.answers(pushback("-1"), pushback("never"), PAUSED);
    for (int i = 0; i < 2; i++) {
      assertThrows(
          SessiondException.Unavailable.class, () -> client.sessions().pauseSession(r -> r.setSessionId("s")));
    }
    assertEquals(2, daemon.requests.size());
  }

  @Test
  void theDeadlineCoversTheRetries() {
    // Without the first two, there would be time for the third pause.
    for (Duration pause : List.of(Duration.ofMillis(1100), Duration.ofMillis(1100), Duration.ofSeconds(29))) {
      daemon.answers(refusal(Status.Code.UNAVAILABLE, "LOCK_TIMEOUT", "TEMPORARY", retryAfter(pause)));
    }
    long start = System.nanoTime();
    SessiondException thrown =
        assertThrows(
            SessiondException.Unavailable.class,
            () ->
                client
                    .sessions()
                    .withTimeout(Duration.ofSeconds(30))
                    .pauseSession(r -> r.setSessionId("s")));
    assertEquals(ErrorReason.LOCK_TIMEOUT, thrown.reason());
    assertTrue(System.nanoTime() - start < 20e9);
    assertEquals(3, daemon.requests.size());
  }

  @Test
  void aPauseLongerThanTheDeadlineIsNotBegun() {
    daemon.answers(refusal(Status.Code.UNAVAILABLE, "DRAINING", "TEMPORARY", retryAfter(Duration.ofHours(1))), PAUSED);
    assertThrows(SessiondException.Unavailable.class, () -> client.sessions().pauseSession(r -> r.setSessionId("s")));
    assertEquals(1, daemon.requests.size());
  }

  @Test
  void aDeadlineOfTheContextHoldsToo() throws Exception {
    for (int i = 0; i < 100; i++) daemon.answers(BUSY);
    ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    try (Context.CancellableContext context =
        Context.current().withDeadlineAfter(300, TimeUnit.MILLISECONDS, timer)) {
      assertThrows(
          SessiondException.class,
          () -> context.call(() -> client.sessions().pauseSession(r -> r.setSessionId("s"))));
    } finally {
      timer.shutdownNow();
    }
    assertTrue(daemon.requests.size() < 20, "" + daemon.requests.size());
  }

  @Test
  void aListenerIsToldOfRetries() {
    List<String> told = new ArrayList<>();
    ClientListener listener =
        new ClientListener() {
          @Override
          public void onRetry(String method, SessiondException why, Duration pause) {
            told.add(method + " " + why.reasonName() + " " + !pause.isZero());
          }
        };
    daemon.answers(BUSY, PAUSED);
    try (SessiondClient listened = daemon.client(SessiondClient.builder(Map.of()).listener(listener))) {
      listened.sessions().pauseSession(r -> r.setSessionId("s"));
    }
    assertEquals(List.of("sessiond.v1.SessionService/PauseSession LOCK_TIMEOUT true"), told);
  }

  @Test
  void aListenerThatThrowsFailsNoCallAndEndsNoWatch() {
    List<String> told = new ArrayList<>();
    ClientListener listener =
        new ClientListener() {
          @Override
          public void onRetry(String method, SessiondException why, Duration pause) {
            fail("retry");
          }

          @Override
          public void onWatchBroken(SessiondException why, Duration pause) {
            fail("broken");
          }

          @Override
          public void onWatchResumed() {
            fail("resumed");
          }

          private void fail(String event) {
            told.add(event);
            throw new IllegalStateException("no counter");
          }
        };
    daemon.answers(BUSY, PAUSED, stream(BUSY), stream(bookmark("t1")));
    try (SessiondClient listened = daemon.client(SessiondClient.builder(Map.of()).listener(listener))) {
      listened.sessions().pauseSession(r -> r.setSessionId("s"));
      try (Watcher watcher = listened.watch(r -> {})) {
        assertInstanceOf(WatchItem.Bookmark.class, watcher.iterator().next());
      }
    }
    assertEquals(List.of("retry", "broken", "resumed"), told);
  }

  @Test
  void anInterruptedThreadDoesNotWait() {
    daemon.answers(refusal(Status.Code.UNAVAILABLE, "DRAINING", "TEMPORARY", retryAfter(Duration.ofSeconds(5))));
    Thread caller = Thread.currentThread();
    ClientListener interrupting =
        new ClientListener() {
          @Override
          public void onRetry(String method, SessiondException why, Duration pause) {
            caller.interrupt();
          }
        };
    try (SessiondClient listened = daemon.client(SessiondClient.builder(Map.of()).listener(interrupting))) {
      assertThrows(
          SessiondException.Unavailable.class, () -> listened.sessions().pauseSession(r -> r.setSessionId("s")));
      assertTrue(Thread.interrupted());
    }
    assertEquals(1, daemon.requests.size());
  }

  @Test
  void pausesGrowAndEnd() {
    Backoff backoff = new Backoff(Duration.ofMillis(100), Duration.ofMillis(350));
    SessiondException why = SessiondException.of("m", BUSY);
    for (int most : new int[] {100, 200, 350, 350}) {
      long pause = backoff.next(why).toMillis();
      assertTrue(pause >= most / 2 && pause <= most, pause + " of " + most);
    }
    backoff.reset();
    assertTrue(backoff.next(why).toMillis() <= 100);
  }

  private List<String> requestIds() {
    return daemon.requests.stream().map(each -> ((PauseSessionRequest) each).getRequestId()).toList();
  }

  @Test
  void halfOfACharacterIsRefusedByItsPlace() {
    String half = "a\uD800b";
    Map<String, Consumer<Session.Builder>> sessions =
        Map.of(
            "session.owner_id", session -> session.setOwnerId(half),
            "session.labels.x", session -> session.putLabels("x", half),
            "session.labels", session -> session.putLabels(half, "x"),
            "session.files[1].uri",
                session -> session.addFiles(SessionArtifact.getDefaultInstance()).addFilesBuilder().setUri(half),
            "session.context.a[1].b", session -> session.setContext(context("b", half)),
            "session.context.a[1]", session -> session.setContext(context(half, "b")));
    sessions.forEach(
        (field, fill) -> {
          SessiondException.InvalidArgument refused =
              assertThrows(
                  SessiondException.InvalidArgument.class,
                  () -> client.sessions().updateSession(r -> fill.accept(r.getSessionBuilder())));
          assertTrue(refused.getMessage().contains(": " + field + " has half of a character"), refused.getMessage());
          assertEquals(field, refused.fieldViolations().get(0).field());
        });
    SessiondException.InvalidArgument watched =
        assertThrows(
            SessiondException.InvalidArgument.class,
            () -> client.watch(r -> r.addSessionIds("s").addSessionIds(half)).close());
    SessiondException.InvalidArgument imported =
        assertThrows(
            SessiondException.InvalidArgument.class,
            () ->
                client
                    .admin()
                    .importSessions(
                        List.of(ImportSessionsRequest.newBuilder().addEvents(context("b", half)).build()).iterator(),
                        answer -> {}));
    assertEquals("events[0].a[1].b", imported.fieldViolations().get(0).field());
    assertEquals("session_ids[1]", watched.fieldViolations().get(0).field());
    assertEquals(0, daemon.requests.size());
    daemon.answers(PAUSED);
    client.sessions().pauseSession(r -> r.setSessionId("\uD83D\uDE00\uFFFD"));
  }

  /** With this in a list; {@link Values} would refuse it. */
  private static Struct context(String key, String text) {
    Value value = Value.newBuilder().setStringValue(text).build();
    Value inner = Value.newBuilder().setStructValue(Struct.newBuilder().putFields(key, value)).build();
    Value list =
        Value.newBuilder()
            .setListValue(ListValue.newBuilder().addValues(Value.getDefaultInstance()).addValues(inner))
            .build();
    return Struct.newBuilder().putFields("a", list).build();
  }
}
