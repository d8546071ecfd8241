package com.sessiond.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sessiond.client.SessiondException.NotFound;
import com.sessiond.v1.ErrorReason;
import com.sessiond.v1.ImportSessionsRequest;
import com.sessiond.v1.ImportSessionsResponse;
import com.sessiond.v1.Session;
import com.sessiond.v1.SessionEvent;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What only a real daemon shows. */
@Timeout(120)
class DaemonTest {
  private static final String UNKNOWN_ID = "0192f3c4-9f2e-7abc-8def-0123456789ab";

  private SessiondClient client;

  @BeforeEach
  void open() {
    client = RealDaemon.get().client();
  }

  @AfterEach
  void close() {
    if (client != null) client.close();
  }

  @Test
  void whatIsNotThereSaysWhy() {
    NotFound never =
        assertThrows(NotFound.class, () -> client.sessions().getSession(r -> r.setSessionId(UNKNOWN_ID)));
    assertEquals(NotFound.Why.NEVER_EXISTED, never.why());
    assertEquals(Category.USER_FIXABLE, never.category());
    assertEquals(UNKNOWN_ID, never.metadata().get("session_id"));

    String id = create("deleted").getSessionId();
    Session deleted = client.sessions().deleteSession(r -> r.setSessionId(id).setForce(true));
    NotFound gone = assertThrows(NotFound.class, () -> client.sessions().getSession(r -> r.setSessionId(id)));
    assertEquals(NotFound.Why.DELETED, gone.why());
    Instant since = gone.since().orElseThrow();
    assertTrue(Duration.between(Values.instant(deleted.getDeleteTime()), since).abs().toMillis() < 1000);

    assertEquals(
        NotFound.Why.NO_SUCH_WORKFLOW,
        assertThrows(NotFound.class, () -> client.workflows().getWorkflow(r -> r.setName("no_such"))).why());
  }

  @Test
  void fieldsThatCannotBeTakenAreNamed() {
    SessiondException.InvalidArgument refused =
        assertThrows(
            SessiondException.InvalidArgument.class,
            () -> client.sessions().listSessions(r -> r.setNamespace("NOT ONE")).iterator().hasNext());
    assertEquals(ErrorReason.INVALID_FIELD, refused.reason());
    assertEquals("namespace", refused.fieldViolations().get(0).field());
  }

  @Test
  void anUpdateChangesWhatItNames() {
    Session session = create("updates");
    Session changed =
        client
            .sessions()
            .updateSession(
                session.getSessionId(),
                u ->
                    u.context(Map.of("site_name", "Bern"))
                        .label("my.team-1", "a")
                        .increment("total_tickets_generated", 3));
    assertEquals(Map.of("site_name", "Bern", "jira_project_key", "ABC"), Values.map(changed.getContext()));
    assertEquals(Map.of("my.team-1", "a"), changed.getLabelsMap());
    assertEquals(3, changed.getCountersOrThrow("total_tickets_generated"));
    Session again =
        client
            .sessions()
            .updateSession(
                session.getSessionId(),
                u -> u.removeContext("jira_project_key").removeLabels("my.team-1").hold(true).etag(changed.getEtag()));
    assertEquals(Map.of("site_name", "Bern"), Values.map(again.getContext()));
    assertTrue(again.getLabelsMap().isEmpty() && again.getHold());
    SessiondException.Aborted refused =
        assertThrows(
            SessiondException.Aborted.class,
            () -> client.sessions().updateSession(session.getSessionId(), u -> u.hold(false).etag(changed.getEtag())));
    assertEquals(again.getEtag(), refused.metadata().get("current_etag"));
  }

  @Test
  void listsGoThroughAllPages() {
    for (int i = 0; i < 5; i++) create("pages");
    assertEquals(5, client.sessions().listSessions(r -> r.setNamespace("pages").setPageSize(2)).stream().count());
  }

  @Test
  void aWatchThatIsCutGoesOn() {
    try (CuttableProxy proxy = new CuttableProxy(RealDaemon.get().address());
        SessiondClient watching = SessiondClient.builder(Map.of()).address(proxy.address()).build()) {
      String id = create("cut").getSessionId();
      List<SessionEvent.Type> told = new ArrayList<>();
      try (Watcher watcher = watching.watch(r -> r.setNamespace("cut").setInitialState(true))) {
        for (WatchItem item : watcher) {
          if (item instanceof WatchItem.Bookmark) {
            proxy.cut();
            client.sessions().pauseSession(r -> r.setSessionId(id));
            client.sessions().resumeSession(r -> r.setSessionId(id));
          } else if (item instanceof WatchItem.Change change) {
            told.add(change.event().getType());
            proxy.cut();
            if (told.size() == 1) client.sessions().pauseSession(r -> r.setSessionId(id));
            if (told.size() == 3) break;
          }
        }
      }
      assertEquals(
          List.of(SessionEvent.Type.PAUSED, SessionEvent.Type.RESUMED, SessionEvent.Type.PAUSED), told);
      assertTrue(proxy.cuts() >= 2, "" + proxy.cuts());
    }
  }

  @Test
  void anImportThatIsCutGoesOn() {
    int count = 1000;
    Iterator<ImportSessionsRequest> sessions =
        IntStream.rangeClosed(1, count).mapToObj(line -> imported("import", line, UUID.randomUUID().toString())).iterator();
    List<Integer> lines = new ArrayList<>();
    try (CuttableProxy proxy = new CuttableProxy(RealDaemon.get().address());
        SessiondClient importing = SessiondClient.builder(Map.of()).address(proxy.address()).build()) {
      importing
          .admin()
          .importSessions(
              sessions,
              answer -> {
                lines.add(answer.getLine());
                if (lines.size() % 300 == 0) proxy.cut();
                boolean there =
                    answer.getResult() == ImportSessionsResponse.Result.IMPORTED
                        || answer.getResult() == ImportSessionsResponse.Result.ALREADY_THERE;
                assertTrue(there, answer.toString());
              });
      assertTrue(proxy.cuts() >= 2, "" + proxy.cuts());
    }
    assertEquals(IntStream.rangeClosed(1, count).boxed().toList(), lines);
    assertEquals(count, client.sessions().countSessions(r -> r.setNamespace("import")).getTotal());
  }

  @Test
  void whatCannotBeImportedIsAnswered() {
    List<ImportSessionsResponse> answers = new ArrayList<>();
    client
        .admin()
        .importSessions(
            List.of(imported("odd", 1, "nonsense"), imported("odd", 2, UUID.randomUUID().toString())).iterator(),
            answers::add);
    assertEquals(ImportSessionsResponse.Result.REFUSED, answers.get(0).getResult());
    assertEquals("INVALID_FORMAT", answers.get(0).getReason());
    assertEquals(ImportSessionsResponse.Result.IMPORTED, answers.get(1).getResult());
  }

  @Test
  void whatTheCallersOwnCodeThrowsEndsAnImport() {
    IllegalStateException own = new IllegalStateException("mine");
    Iterator<ImportSessionsRequest> one =
        List.of(imported("own", 1, UUID.randomUUID().toString())).iterator();
    assertSame(
        own,
        assertThrows(
            IllegalStateException.class,
            () ->
                client
                    .admin()
                    .importSessions(
                        one,
                        answer -> {
                          throw own;
                        })));
  }

  private static ImportSessionsRequest imported(String namespace, int line, String id) {
    ImportSessionsRequest.Builder request = ImportSessionsRequest.newBuilder().setLine(line);
    request
        .getSessionBuilder()
        .setSessionId(id)
        .setNamespace(namespace)
        .setWorkflow("interview")
        .setOwnerId("u");
    return request.build();
  }

  private Session create(String namespace) {
    return client
        .sessions()
        .createSession(
            r ->
                r.getSessionBuilder()
                    .setWorkflow("ticket_export")
                    .setNamespace(namespace)
                    .setOwnerId("u")
                    .setOwnerDisplayName("U")
                    .setContext(Values.struct(Map.of("site_name", "Berlin", "jira_project_key", "ABC"))));
  }
}
