package com.sessiond.client;

import com.sessiond.v1.ActivateSessionRequest;
import com.sessiond.v1.AdvanceSessionRequest;
import com.sessiond.v1.CountSessionsRequest;
import com.sessiond.v1.CountSessionsResponse;
import com.sessiond.v1.CreateSessionRequest;
import com.sessiond.v1.DeleteSessionRequest;
import com.sessiond.v1.FailSessionRequest;
import com.sessiond.v1.GetSessionRequest;
import com.sessiond.v1.ListRecoverableSessionsRequest;
import com.sessiond.v1.ListRecoverableSessionsResponse;
import com.sessiond.v1.ListSessionEventsRequest;
import com.sessiond.v1.ListSessionEventsResponse;
import com.sessiond.v1.ListSessionsRequest;
import com.sessiond.v1.ListSessionsResponse;
import com.sessiond.v1.LookupSessionsRequest;
import com.sessiond.v1.LookupSessionsResponse;
import com.sessiond.v1.PauseSessionRequest;
import com.sessiond.v1.RecoverSessionRequest;
import com.sessiond.v1.ResumeSessionRequest;
import com.sessiond.v1.Session;
import com.sessiond.v1.SessionEvent;
import com.sessiond.v1.SessionServiceGrpc;
import com.sessiond.v1.StopSessionRequest;
import com.sessiond.v1.UndeleteSessionRequest;
import com.sessiond.v1.UpdateSessionRequest;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Creates sessions, moves, changes, finds and explains them, and tells of their changes.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/session_service.proto} says what each is refused for. It takes
 * a request, or what fills one in. A change without a request_id gets one, the same for all its retries.
 * Thread-safe.
 */
public final class SessionClient {
  private final Calls calls;

  SessionClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public SessionClient withTimeout(Duration timeout) {
    return new SessionClient(calls.withTimeout(timeout));
  }

  /** Creates a session: ACTIVE at the first stage of its workflow, or CREATING if asked for. */
  public Session createSession(CreateSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getCreateSessionMethod(), request);
  }

  /** Creates a session: ACTIVE at the first stage of its workflow, or CREATING if asked for. */
  public Session createSession(Consumer<CreateSessionRequest.Builder> request) {
    return createSession(Calls.build(CreateSessionRequest.newBuilder(), request, CreateSessionRequest.Builder::build));
  }

  /** CREATING becomes ACTIVE. */
  public Session activateSession(ActivateSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getActivateSessionMethod(), request);
  }

  /** CREATING becomes ACTIVE. */
  public Session activateSession(Consumer<ActivateSessionRequest.Builder> request) {
    return activateSession(
        Calls.build(ActivateSessionRequest.newBuilder(), request, ActivateSessionRequest.Builder::build));
  }

  /** Answers one session; in the FULL view with its newest files and open errors. */
  public Session getSession(GetSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getGetSessionMethod(), request);
  }

  /** Answers one session; in the FULL view with its newest files and open errors. */
  public Session getSession(Consumer<GetSessionRequest.Builder> request) {
    return getSession(Calls.build(GetSessionRequest.newBuilder(), request, GetSessionRequest.Builder::build));
  }

  /** Answers for each of up to 1,000 ids, in the order asked: a miss says why. */
  public LookupSessionsResponse lookupSessions(LookupSessionsRequest request) {
    return calls.unary(SessionServiceGrpc.getLookupSessionsMethod(), request);
  }

  /** Answers for each of up to 1,000 ids, in the order asked: a miss says why. */
  public LookupSessionsResponse lookupSessions(Consumer<LookupSessionsRequest.Builder> request) {
    return lookupSessions(
        Calls.build(LookupSessionsRequest.newBuilder(), request, LookupSessionsRequest.Builder::build));
  }

  /** Every session that matches, newest first unless asked otherwise. */
  public Pages<Session> listSessions(ListSessionsRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListSessionsResponse page =
              calls.unary(SessionServiceGrpc.getListSessionsMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getSessionsList(), page.getNextPageToken());
        });
  }

  /** Every session that matches, newest first unless asked otherwise. */
  public Pages<Session> listSessions(Consumer<ListSessionsRequest.Builder> request) {
    return listSessions(Calls.build(ListSessionsRequest.newBuilder(), request, ListSessionsRequest.Builder::build));
  }

  /** Counts sessions, grouped or not. */
  public CountSessionsResponse countSessions(CountSessionsRequest request) {
    return calls.unary(SessionServiceGrpc.getCountSessionsMethod(), request);
  }

  /** Counts sessions, grouped or not. */
  public CountSessionsResponse countSessions(Consumer<CountSessionsRequest.Builder> request) {
    return countSessions(Calls.build(CountSessionsRequest.newBuilder(), request, CountSessionsRequest.Builder::build));
  }

  /** Changes fields, labels, references, context and counters, all or none. */
  public Session updateSession(UpdateSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getUpdateSessionMethod(), request);
  }

  /** Changes fields, labels, references, context and counters, all or none. */
  public Session updateSession(Consumer<UpdateSessionRequest.Builder> request) {
    return updateSession(Calls.build(UpdateSessionRequest.newBuilder(), request, UpdateSessionRequest.Builder::build));
  }

  /** Changes keys of the context, labels, references, counters and the like, each by its name. */
  public Session updateSession(String sessionId, Consumer<SessionUpdate> update) {
    SessionUpdate changes = new SessionUpdate(sessionId);
    update.accept(changes);
    return updateSession(changes.build());
  }

  /** Moves to the next stage; at the last one the session is completed. */
  public Session advanceSession(AdvanceSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getAdvanceSessionMethod(), request);
  }

  /** Moves to the next stage; at the last one the session is completed. */
  public Session advanceSession(Consumer<AdvanceSessionRequest.Builder> request) {
    return advanceSession(
        Calls.build(AdvanceSessionRequest.newBuilder(), request, AdvanceSessionRequest.Builder::build));
  }

  /** ACTIVE becomes PAUSED. */
  public Session pauseSession(PauseSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getPauseSessionMethod(), request);
  }

  /** ACTIVE becomes PAUSED. */
  public Session pauseSession(Consumer<PauseSessionRequest.Builder> request) {
    return pauseSession(Calls.build(PauseSessionRequest.newBuilder(), request, PauseSessionRequest.Builder::build));
  }

  /** PAUSED becomes ACTIVE. */
  public Session resumeSession(ResumeSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getResumeSessionMethod(), request);
  }

  /** PAUSED becomes ACTIVE. */
  public Session resumeSession(Consumer<ResumeSessionRequest.Builder> request) {
    return resumeSession(Calls.build(ResumeSessionRequest.newBuilder(), request, ResumeSessionRequest.Builder::build));
  }

  /** ACTIVE or PAUSED becomes STOPPED; a running task is cancelled. */
  public Session stopSession(StopSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getStopSessionMethod(), request);
  }

  /** ACTIVE or PAUSED becomes STOPPED; a running task is cancelled. */
  public Session stopSession(Consumer<StopSessionRequest.Builder> request) {
    return stopSession(Calls.build(StopSessionRequest.newBuilder(), request, StopSessionRequest.Builder::build));
  }

  /** Marks a session as failed; a running task is cancelled. */
  public Session failSession(FailSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getFailSessionMethod(), request);
  }

  /** Marks a session as failed; a running task is cancelled. */
  public Session failSession(Consumer<FailSessionRequest.Builder> request) {
    return failSession(Calls.build(FailSessionRequest.newBuilder(), request, FailSessionRequest.Builder::build));
  }

  /** An owner's sessions that can be recovered, newest first. */
  public ListRecoverableSessionsResponse listRecoverableSessions(ListRecoverableSessionsRequest request) {
    return calls.unary(SessionServiceGrpc.getListRecoverableSessionsMethod(), request);
  }

  /** An owner's sessions that can be recovered, newest first. */
  public ListRecoverableSessionsResponse listRecoverableSessions(
      Consumer<ListRecoverableSessionsRequest.Builder> request) {
    return listRecoverableSessions(
        Calls.build(
            ListRecoverableSessionsRequest.newBuilder(), request, ListRecoverableSessionsRequest.Builder::build));
  }

  /** Makes a session ACTIVE again, and takes off its mark of failure. */
  public Session recoverSession(RecoverSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getRecoverSessionMethod(), request);
  }

  /** Makes a session ACTIVE again, and takes off its mark of failure. */
  public Session recoverSession(Consumer<RecoverSessionRequest.Builder> request) {
    return recoverSession(
        Calls.build(RecoverSessionRequest.newBuilder(), request, RecoverSessionRequest.Builder::build));
  }

  /** Soft-deletes a session. */
  public Session deleteSession(DeleteSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getDeleteSessionMethod(), request);
  }

  /** Soft-deletes a session. */
  public Session deleteSession(Consumer<DeleteSessionRequest.Builder> request) {
    return deleteSession(Calls.build(DeleteSessionRequest.newBuilder(), request, DeleteSessionRequest.Builder::build));
  }

  /** DELETED becomes STOPPED. */
  public Session undeleteSession(UndeleteSessionRequest request) {
    return calls.unary(SessionServiceGrpc.getUndeleteSessionMethod(), request);
  }

  /** DELETED becomes STOPPED. */
  public Session undeleteSession(Consumer<UndeleteSessionRequest.Builder> request) {
    return undeleteSession(
        Calls.build(UndeleteSessionRequest.newBuilder(), request, UndeleteSessionRequest.Builder::build));
  }

  /** Every event of a session, oldest first. */
  public Pages<SessionEvent> listSessionEvents(ListSessionEventsRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListSessionEventsResponse page =
              calls.unary(
                  SessionServiceGrpc.getListSessionEventsMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getEventsList(), page.getNextPageToken());
        });
  }

  /** Every event of a session, oldest first. */
  public Pages<SessionEvent> listSessionEvents(Consumer<ListSessionEventsRequest.Builder> request) {
    return listSessionEvents(
        Calls.build(ListSessionEventsRequest.newBuilder(), request, ListSessionEventsRequest.Builder::build));
  }
}
