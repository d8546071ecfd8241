package com.sessiond.client;

import com.sessiond.v1.AdminServiceGrpc;
import com.sessiond.v1.DetachReferenceRequest;
import com.sessiond.v1.DetachReferenceResponse;
import com.sessiond.v1.EraseOwnerRequest;
import com.sessiond.v1.EraseOwnerResponse;
import com.sessiond.v1.GetServerInfoRequest;
import com.sessiond.v1.GetServerInfoResponse;
import com.sessiond.v1.ImportSessionsRequest;
import com.sessiond.v1.ImportSessionsResponse;
import com.sessiond.v1.PurgeSessionsRequest;
import com.sessiond.v1.PurgeSessionsResponse;
import java.time.Duration;
import java.util.Iterator;
import java.util.function.Consumer;

/**
 * What those who look after the data do with many sessions at once.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/admin_service.proto} says what each is refused for. It takes a
 * request, or what fills one in. A change without a request_id gets one, the same for all its retries. Thread-safe.
 */
public final class AdminClient {
  private final Calls calls;

  AdminClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public AdminClient withTimeout(Duration timeout) {
    return new AdminClient(calls.withTimeout(timeout));
  }

  /** Erases an owner's sessions: one batch a call. */
  public EraseOwnerResponse eraseOwner(EraseOwnerRequest request) {
    return calls.unary(AdminServiceGrpc.getEraseOwnerMethod(), request);
  }

  /** Erases an owner's sessions: one batch a call. */
  public EraseOwnerResponse eraseOwner(Consumer<EraseOwnerRequest.Builder> request) {
    return eraseOwner(Calls.build(EraseOwnerRequest.newBuilder(), request, EraseOwnerRequest.Builder::build));
  }

  /** Takes a reference off every session that has it: one batch a call. */
  public DetachReferenceResponse detachReference(DetachReferenceRequest request) {
    return calls.unary(AdminServiceGrpc.getDetachReferenceMethod(), request);
  }

  /** Takes a reference off every session that has it: one batch a call. */
  public DetachReferenceResponse detachReference(Consumer<DetachReferenceRequest.Builder> request) {
    return detachReference(
        Calls.build(DetachReferenceRequest.newBuilder(), request, DetachReferenceRequest.Builder::build));
  }

  /** Tells which sessions are due, or, with execute, removes one batch of them. */
  public PurgeSessionsResponse purgeSessions(PurgeSessionsRequest request) {
    return calls.unary(AdminServiceGrpc.getPurgeSessionsMethod(), request);
  }

  /** Tells which sessions are due, or, with execute, removes one batch of them. */
  public PurgeSessionsResponse purgeSessions(Consumer<PurgeSessionsRequest.Builder> request) {
    return purgeSessions(Calls.build(PurgeSessionsRequest.newBuilder(), request, PurgeSessionsRequest.Builder::build));
  }

  /**
   * Imports existing sessions: takes them from {@code sessions} one by one, and gives {@code answered} what became of
   * each, in their order; both on this thread. Up to 256 sessions, or 8 MiB, are sent ahead of their answers. After lost
   * connections and temporary refusals, what was not answered is sent again: what is there already is left as it is.
   *
   * @throws SessiondException when that cannot help, or nothing was answered for this client's timeout since the errors
   *     began
   */
  public void importSessions(
      Iterator<ImportSessionsRequest> sessions, Consumer<ImportSessionsResponse> answered) {
    new ImportStream(calls, sessions, answered).run();
  }

  /** Says what this daemon is and what it runs on. */
  public GetServerInfoResponse getServerInfo(GetServerInfoRequest request) {
    return calls.unary(AdminServiceGrpc.getGetServerInfoMethod(), request);
  }

  /** Says what this daemon is and what it runs on. */
  public GetServerInfoResponse getServerInfo(Consumer<GetServerInfoRequest.Builder> request) {
    return getServerInfo(Calls.build(GetServerInfoRequest.newBuilder(), request, GetServerInfoRequest.Builder::build));
  }
}
