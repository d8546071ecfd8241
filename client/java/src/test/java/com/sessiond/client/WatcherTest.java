package com.sessiond.client;

import static com.sessiond.client.FakeDaemon.refusal;
import static com.sessiond.client.FakeDaemon.stream;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sessiond.v1.Session;
import com.sessiond.v1.WatchBookmark;
import com.sessiond.v1.WatchHeartbeat;
import com.sessiond.v1.WatchSessionsRequest;
import com.sessiond.v1.WatchSessionsResponse;
import io.grpc.Status;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Timeout(60)
class WatcherTest {
  private static final Duration LONG = Duration.ofSeconds(20);
  private static final Duration SHORT = Duration.ofMillis(50);

  @AutoClose private final FakeDaemon daemon = new FakeDaemon();
  @AutoClose private final SessiondClient client = daemon.client();

  @ParameterizedTest
  @EnumSource(names = {"UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"})
  void itResumesBehindWhatPasses(Status.Code code) {
    daemon.answers(
        stream(state("t1", "a"), bookmark("t2"), change("t3", 2), code.toStatus().asRuntimeException()),
        stream(bookmark("t4"), change("t5", 3)));
    try (Watcher watcher = client.watch(r -> r.setInitialState(true))) {
      assertEquals("a", ((WatchItem.State) next(watcher)).session().getSessionId());
      assertInstanceOf(WatchItem.Bookmark.class, next(watcher));
      assertEquals(2, ((WatchItem.Change) next(watcher)).event().getSequence());
      assertEquals("t3", watcher.resumeToken());
      // No second bookmark.
      assertEquals(3, ((WatchItem.Change) next(watcher)).event().getSequence());
    }
    assertEquals("t3", request(1).getResumeToken());
    assertFalse(request(1).getInitialState());
  }

  @Test
  void itEndsOnWhatDoesNotPass() {
    daemon.answers(
        stream(bookmark("t1"), refusal(Status.Code.INTERNAL, "SCHEMA_MISMATCH", "ADMIN_REQUIRED")));
    try (Watcher watcher = client.watch(r -> {})) {
      next(watcher);
      SessiondException thrown = assertThrows(SessiondException.Internal.class, () -> next(watcher));
      assertEquals("SCHEMA_MISMATCH", thrown.reasonName());
      assertTrue(watcher.isClosed());
      assertFalse(watcher.iterator().hasNext());
    }
    assertEquals(1, daemon.requests.size());
  }

  @Test
  void itResumesBehindATemporaryRefusal() {
    daemon.answers(
        refusal(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", "TEMPORARY"), stream(bookmark("t1")));
    try (Watcher watcher = client.watch(r -> {})) {
      assertInstanceOf(WatchItem.Bookmark.class, next(watcher));
    }
    assertEquals(2, daemon.requests.size());
  }

  @Test
  void silenceIsNoticed() {
    Duration silence = Duration.ofSeconds(5);
    daemon.answers(stream(bookmark("t1")), stream(change("t2", 2)));
    try (Watcher watcher = client.watch(r -> {}, new WatchOptions().silence(silence))) {
      next(watcher);
      assertInstanceOf(WatchItem.Change.class, next(watcher));
    }
    assertEquals("t1", request(1).getResumeToken());
    assertTrue(daemon.pause(0).compareTo(silence) >= 0, daemon.pause(0).toString());
  }

  @Test
  void heartbeatsAreNoItemsAndMoveTheToken() {
    daemon.answers(stream(bookmark("t1"), heartbeat("t2"), heartbeat("t3")));
    try (Watcher watcher = client.watch(r -> {})) {
      next(watcher);
      assertEquals("t1", watcher.resumeToken());
      while (!watcher.resumeToken().equals("t3")) assertEquals(Optional.empty(), watcher.poll(SHORT));
    }
  }

  @Test
  void anInitialStateThatBrokeOffIsToldAgain() {
    daemon.answers(
        stream(state("t1", "a"), Status.UNAVAILABLE.asRuntimeException()),
        stream(state("t2", "b"), bookmark("t3")));
    try (Watcher watcher = client.watch(r -> r.setInitialState(true))) {
      assertInstanceOf(WatchItem.State.class, next(watcher));
      assertInstanceOf(WatchItem.Restart.class, next(watcher));
      assertEquals("t1", watcher.resumeToken());
      assertEquals("b", ((WatchItem.State) next(watcher)).session().getSessionId());
      assertEquals("t2", watcher.resumeToken());
      assertInstanceOf(WatchItem.Bookmark.class, next(watcher));
    }
  }

  @Test
  void aTokenIsSavedWhenItsItemWasDealtWith(@TempDir Path folder) throws Exception {
    Path file = folder.resolve("token");
    WatchOptions options = new WatchOptions().tokens(TokenStore.file(file));
    daemon.answers(
        stream(state("t0", "a"), bookmark("t1"), change("t2", 2), change("t3", 3)), stream(change("t3", 3)));
    try (Watcher watcher = client.watch(r -> r.setInitialState(true), options)) {
      next(watcher);
      assertFalse(Files.exists(file));
      next(watcher);
      assertEquals("t0", Files.readString(file).strip());
      next(watcher);
      assertEquals("t1", Files.readString(file).strip());
      next(watcher);
      assertEquals("t2", Files.readString(file).strip());
    }
    assertEquals("t2", Files.readString(file).strip());
    try (Watcher watcher = client.watch(r -> r.setInitialState(true), options)) {
      assertEquals(3, ((WatchItem.Change) next(watcher)).event().getSequence());
      watcher.processed();
      assertEquals("t3", Files.readString(file).strip());
    }
    assertTrue(request(0).getInitialState());
    assertFalse(request(1).getInitialState());
    assertEquals("t2", request(1).getResumeToken());
  }

  @Test
  void closingEndsALoopThatWaits() throws Exception {
    daemon.answers(stream(bookmark("t1")));
    Watcher watcher = client.watch(r -> {});
    Iterator<WatchItem> items = watcher.iterator();
    items.next();
    CompletableFuture<Boolean> more = CompletableFuture.supplyAsync(items::hasNext);
    watcher.close();
    assertFalse(more.get(20, TimeUnit.SECONDS));
    assertEquals(Optional.empty(), watcher.poll(LONG));
  }

  @Test
  void closingTheClientEndsItsWatches() throws Exception {
    daemon.answers(stream(bookmark("t1")));
    SessiondClient closed = daemon.client();
    Iterator<WatchItem> items = closed.watch(r -> {}).iterator();
    items.next();
    CompletableFuture<Boolean> more = CompletableFuture.supplyAsync(items::hasNext);
    closed.close();
    assertFalse(more.get(20, TimeUnit.SECONDS));
  }

  @Test
  void aWatchOfAClosedClientSaysSo() {
    SessiondClient closed = daemon.client();
    closed.close();
    assertThrows(SessiondException.Unavailable.class, () -> next(closed.watch(r -> {})));
  }

  @Test
  void anItemThatCameWhileNobodyLookedIsNotLost() {
    daemon.answers(stream(bookmark("t1")));
    try (Watcher watcher = client.watch(r -> {})) {
      long start = System.nanoTime();
      Optional<WatchItem> item = Optional.empty();
      while (item.isEmpty() && System.nanoTime() - start < LONG.toNanos()) item = watcher.poll(Duration.ZERO);
      assertInstanceOf(WatchItem.Bookmark.class, item.orElseThrow());
    }
  }

  private static WatchItem next(Watcher watcher) {
    return watcher.poll(LONG).orElseThrow();
  }

  private WatchSessionsRequest request(int index) {
    return (WatchSessionsRequest) daemon.requests.get(index);
  }

  private static WatchSessionsResponse state(String token, String id) {
    return WatchSessionsResponse.newBuilder()
        .setSession(Session.newBuilder().setSessionId(id))
        .setResumeToken(token)
        .build();
  }

  static WatchSessionsResponse bookmark(String token) {
    return WatchSessionsResponse.newBuilder()
        .setBookmark(WatchBookmark.getDefaultInstance())
        .setResumeToken(token)
        .build();
  }

  private static WatchSessionsResponse heartbeat(String token) {
    return WatchSessionsResponse.newBuilder()
        .setHeartbeat(WatchHeartbeat.getDefaultInstance())
        .setResumeToken(token)
        .build();
  }

  private static WatchSessionsResponse change(String token, int sequence) {
    WatchSessionsResponse.Builder response = WatchSessionsResponse.newBuilder().setResumeToken(token);
    response.getChangeBuilder().getEventBuilder().setSequence(sequence);
    return response.build();
  }
}
