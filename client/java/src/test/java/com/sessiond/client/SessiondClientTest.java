package com.sessiond.client;

import static com.sessiond.client.FakeDaemon.stream;
import static com.sessiond.client.WatcherTest.bookmark;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sessiond.v1.ListSessionsRequest;
import com.sessiond.v1.ListSessionsResponse;
import com.sessiond.v1.Session;
import com.sessiond.v1.UpdateSessionRequest;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SessiondClientTest {
  private static final String TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  private static final Session SESSION = Session.newBuilder().setSessionId("s").build();

  @AutoClose private final FakeDaemon daemon = new FakeDaemon();

  @ParameterizedTest
  @CsvSource({
    "127.0.0.1:7900, dns:///127.0.0.1:7900, true",
    "localhost, dns:///localhost:7377, true",
    "[::1]:1, dns:///[::1]:1, true",
    "sessiond.example:443, dns:///sessiond.example:443, false",
    "unix:/run/s.sock, unix:/run/s.sock, true",
    "dns:///a:1, dns:///a:1, false"
  })
  void anAddressIsTakenAsPeopleWriteIt(String written, String target, boolean local) {
    assertEquals(new ServerAddress(target, local), ServerAddress.parse("address", written));
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "a:b", "a:0", "a:65536", "http://a:1", "::1", "unix:", "a b"})
  void whatIsNoAddressIsRefusedWithAWayOut(String written) {
    String message =
        assertThrows(
                IllegalArgumentException.class,
                () -> SessiondClient.builder(Map.of("SESSIOND_SERVER", "x")).address(written).build())
            .getMessage();
    assertTrue(message.startsWith("address is \"" + written + "\", which "), message);
    assertTrue(message.contains("; write "), message);
  }

  @Test
  void aWrongVariableIsNamed() {
    String message =
        assertThrows(
                IllegalArgumentException.class, () -> SessiondClient.builder(Map.of("SESSIOND_SERVER", "a:b")).build())
            .getMessage();
    assertTrue(message.startsWith("SESSIOND_SERVER is \"a:b\""), message);
  }

  @Test
  void aTokenDoesNotLeaveThisMachineUnencrypted() {
    SessiondClient.Builder builder = SessiondClient.builder(Map.of()).address("sessiond.example:1").token("s3cret");
    String message = assertThrows(IllegalArgumentException.class, builder::build).getMessage();
    assertTrue(message.contains("tls()"), message);
    builder.tokenInPlaintext().build().close();
    SessiondClient.builder(Map.of()).token("s3cret").build().close();
  }

  @Test
  void aTokenIsReadAgainWhateverItsFilesTimesSay(@TempDir Path folder) throws Exception {
    Path file = folder.resolve("token");
    Files.writeString(file, "one\n");
    FileTime written = Files.getLastModifiedTime(file);
    try (SessiondClient client =
        daemon.client(SessiondClient.builder(Map.of("SESSIOND_TOKEN_FILE", file.toString())))) {
      assertEquals("Bearer one", sentBy(client));
      Files.writeString(file, "two\n");
      Files.setLastModifiedTime(file, written);
      assertEquals("Bearer two", sentBy(client));
      Files.writeString(file, "\uFEFFthree\r\n");
      assertEquals("Bearer three", sentBy(client));
      // In the middle of a rotation.
      for (String content : List.of("", "\uFEFF", "half a token")) {
        Files.writeString(file, content);
        assertEquals("Bearer three", sentBy(client));
      }
      Files.delete(file);
      assertEquals("Bearer three", sentBy(client));
      Files.writeString(file, "four");
      assertEquals("Bearer four", sentBy(client));
    }
  }

  @Test
  void aTokenFileThatIsNotThereIsNamed(@TempDir Path folder) {
    Path file = folder.resolve("token");
    try (SessiondClient client = daemon.client(SessiondClient.builder(Map.of()).tokenFile(file))) {
      SessiondException thrown = assertThrows(SessiondException.Unauthenticated.class, () -> sentBy(client));
      assertTrue(thrown.getMessage().contains(file.toString()), thrown.getMessage());
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", " \n", "\uFEFF", "Bearer canary", "canary\0", "can\nary", "canary\u00E9", "c\0a\0n\0"})
  void aTokenThatNoHeaderTakesIsRefusedAndNotTold(String content, @TempDir Path folder) throws Exception {
    Path file = folder.resolve("file");
    Files.write(file, content.getBytes(StandardCharsets.UTF_8));
    Map<String, SessiondClient.Builder> builders =
        Map.of(
            "the token file " + file, SessiondClient.builder(Map.of()).tokenFile(file),
            "the token ", SessiondClient.builder(Map.of()).token(() -> content));
    builders.forEach(
        (name, builder) -> {
          try (SessiondClient client = daemon.client(builder)) {
            SessiondException thrown = assertThrows(SessiondException.Unauthenticated.class, () -> sentBy(client));
            assertTrue(thrown.getMessage().contains(name), thrown.getMessage());
            assertFalse(thrown.getMessage().contains("can"), thrown.getMessage());
          }
        });
    assertTrue(daemon.requests.isEmpty());
    // One that is given is refused before any call.
    SessiondClient.Builder builder = SessiondClient.builder(Map.of()).token(content);
    String message = assertThrows(IllegalArgumentException.class, () -> builder.build().close()).getMessage();
    assertTrue(message.startsWith("token "), message);
    assertFalse(message.contains("can"), message);
    builder.token(() -> content).build().close();
  }

  @Test
  void theStatusThatASupplierOfTokensThrowsIsTheCalls() {
    StatusRuntimeException away = Status.UNAVAILABLE.withDescription("the issuer is away").asRuntimeException();
    for (RuntimeException thrown : List.of(away, SessiondException.of("issue", away))) {
      AtomicInteger asked = new AtomicInteger();
      Supplier<String> token =
          () -> {
            if (asked.incrementAndGet() == 1) throw thrown;
            return "t";
          };
      try (SessiondClient client = daemon.client(SessiondClient.builder(Map.of()).token(token))) {
        assertEquals("Bearer t", sentBy(client));
      }
    }
    for (RuntimeException thrown :
        List.of(
            new IllegalStateException("the issuer is away"),
            Status.OK.withDescription("the issuer is away").asRuntimeException())) {
      Supplier<String> token =
          () -> {
            throw thrown;
          };
      try (SessiondClient client = daemon.client(SessiondClient.builder(Map.of()).token(token))) {
        SessiondException refused = assertThrows(SessiondException.Unauthenticated.class, () -> sentBy(client));
        assertTrue(refused.getMessage().contains("the issuer is away"), refused.getMessage());
        assertSame(thrown, refused.getCause());
      }
    }
  }

  @Test
  void whatIsGivenAsEmptyIsRefusedByItsName() {
    Path empty = Path.of("");
    Path file = Path.of("file");
    Map<String, Consumer<SessiondClient.Builder>> options =
        Map.of(
            "tls: the file's name is empty", b -> b.tls(empty),
            "tokenFile: the file's name is empty", b -> b.tokenFile(empty),
            "clientCertificate: the file's name is empty", b -> b.clientCertificate(file, empty),
            "token is empty", b -> b.token("").build(),
            "address is \"\"", b -> b.address("").build());
    options.forEach(
        (message, option) -> {
          SessiondClient.Builder builder = SessiondClient.builder(Map.of());
          IllegalArgumentException thrown =
              assertThrows(IllegalArgumentException.class, () -> option.accept(builder));
          assertTrue(thrown.getMessage().startsWith(message), thrown.getMessage());
        });
  }

  @Test
  void theTraceOfTheCallerIsPassedOn() {
    daemon.answers(SESSION, SESSION, SESSION);
    try (SessiondClient client = daemon.client()) {
      Context.current()
          .withValue(SessiondClient.TRACEPARENT, TRACE)
          .run(() -> client.sessions().getSession(r -> r.setSessionId("s")));
      client.sessions().getSession(r -> r.setSessionId("s"));
    }
    try (SessiondClient client = daemon.client(SessiondClient.builder(Map.of()).traceparent(() -> "no\ntrace"))) {
      client.sessions().getSession(r -> r.setSessionId("s"));
    }
    assertEquals(TRACE, header(0, "traceparent"));
    assertNull(header(1, "traceparent"));
    assertNull(header(2, "traceparent"));
  }

  @Test
  void aTraceThatCannotBeFailsNoCall() {
    List<Supplier<String>> fails =
        List.of(
            () -> {
              throw new IllegalStateException("no tracer");
            },
            () -> {
              throw new NoClassDefFoundError("no/Tracer");
            },
            () -> TRACE + "\t",
            () -> TRACE + "\u00e4");
    fails.forEach(
        fail -> {
          daemon.answers(SESSION, stream(bookmark("t1")));
          try (SessiondClient client = daemon.client(SessiondClient.builder(Map.of()).traceparent(fail))) {
            client.sessions().getSession(r -> r.setSessionId("s"));
            try (Watcher watcher = client.watch(r -> {})) {
              assertInstanceOf(WatchItem.Bookmark.class, watcher.iterator().next());
            }
          }
        });
    assertEquals(2 * fails.size(), daemon.headers.size());
    for (int i = 0; i < daemon.headers.size(); i++) assertNull(header(i, "traceparent"));
  }

  @Test
  void pagesAreReadWhenTheyAreWanted() {
    daemon.answers(page("two", "a", "b"), page("three"), page("", "c"), page("", "x"));
    try (SessiondClient client = daemon.client()) {
      Pages<Session> pages = client.sessions().listSessions(r -> r.setPageSize(2));
      assertTrue(daemon.requests.isEmpty());
      Iterator<Session> iterator = pages.iterator();
      assertEquals("a", iterator.next().getSessionId());
      assertEquals("b", iterator.next().getSessionId());
      assertEquals(1, daemon.requests.size());
      assertEquals("c", iterator.next().getSessionId());
      assertTrue(!iterator.hasNext());
      List<String> tokens =
          daemon.requests.stream().map(each -> ((ListSessionsRequest) each).getPageToken()).toList();
      assertEquals(List.of("", "two", "three"), tokens);
      // A stream begins anew.
      assertEquals(List.of("x"), pages.stream().map(Session::getSessionId).toList());
    }
  }

  @Test
  void anUpdateNamesWhatItChanges() {
    daemon.answers(SESSION);
    try (SessiondClient client = daemon.client()) {
      client
          .sessions()
          .updateSession(
              "s",
              u ->
                  u.context("My.Key", 1)
                      .context(Map.of("b", List.of(true)))
                      .removeContext("c")
                      .label("team", "a")
                      .removeLabels("draft", "old")
                      .reference("job", "j1")
                      .removeReferences("x")
                      .ownerDisplayName("Ada")
                      .hold(true)
                      .hold(false)
                      .increment("n", -2)
                      .etag("r1")
                      .actor("ada")
                      .reason("because"));
    }
    UpdateSessionRequest.Builder sent = ((UpdateSessionRequest) daemon.requests.get(0)).toBuilder();
    assertEquals(36, sent.getRequestId().length());
    UpdateSessionRequest.Builder expected = UpdateSessionRequest.newBuilder();
    expected.getSessionBuilder().setSessionId("s").setOwnerDisplayName("Ada");
    expected.getUpdateMaskBuilder().addPaths("owner_display_name").addPaths("hold");
    expected
        .setSetContext(Values.struct(Map.of("My.Key", 1, "b", List.of(true))))
        .addRemoveContextKeys("c")
        .putSetLabels("team", "a")
        .addRemoveLabelKeys("draft")
        .addRemoveLabelKeys("old")
        .putSetReferences("job", "j1")
        .addRemoveReferenceKeys("x")
        .putCounterIncrements("n", -2)
        .setEtag("r1")
        .setActor("ada")
        .setReason("because");
    assertEquals(expected.build(), sent.clearRequestId().build());
  }

  @Test
  void whatCannotBeIsRefused() {
    SessiondClient.Builder builder = SessiondClient.builder(Map.of());
    assertThrows(IllegalArgumentException.class, () -> builder.timeout(Duration.ZERO).build());
    builder.timeout(Duration.ofSeconds(1));
    assertThrows(
        IllegalArgumentException.class, () -> builder.backoff(Duration.ofSeconds(2), Duration.ofSeconds(1)).build());
    SessiondClient.Builder files = SessiondClient.builder(Map.of()).tls(Path.of("/no/such/file"));
    assertTrue(assertThrows(IllegalArgumentException.class, files::build).getMessage().contains("/no/such/file"));
  }

  /** The token that a call of the client brings to the daemon. */
  private String sentBy(SessiondClient client) {
    daemon.answers(SESSION);
    client.sessions().getSession(r -> r.setSessionId("s"));
    return header(daemon.headers.size() - 1, "authorization");
  }

  private String header(int call, String name) {
    return daemon.headers.get(call).get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
  }

  private static ListSessionsResponse page(String nextToken, String... ids) {
    ListSessionsResponse.Builder page = ListSessionsResponse.newBuilder().setNextPageToken(nextToken);
    for (String id : ids) page.addSessions(Session.newBuilder().setSessionId(id));
    return page.build();
  }
}
