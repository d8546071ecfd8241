package com.sessiond.client;

import com.sessiond.v1.AddArtifactsRequest;
import com.sessiond.v1.AddArtifactsResponse;
import com.sessiond.v1.ArtifactServiceGrpc;
import com.sessiond.v1.DeleteArtifactRequest;
import com.sessiond.v1.DeleteArtifactResponse;
import com.sessiond.v1.ListArtifactsRequest;
import com.sessiond.v1.ListArtifactsResponse;
import com.sessiond.v1.SessionArtifact;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Adds, lists and deletes artifacts.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/artifact_service.proto} says what each is refused for. It takes
 * a request, or what fills one in. A change without a request_id gets one, the same for all its retries.
 * Thread-safe.
 */
public final class ArtifactClient {
  private final Calls calls;

  ArtifactClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public ArtifactClient withTimeout(Duration timeout) {
    return new ArtifactClient(calls.withTimeout(timeout));
  }

  /** Adds 1 to 500 artifacts, all or none. */
  public AddArtifactsResponse addArtifacts(AddArtifactsRequest request) {
    return calls.unary(ArtifactServiceGrpc.getAddArtifactsMethod(), request);
  }

  /** Adds 1 to 500 artifacts, all or none. */
  public AddArtifactsResponse addArtifacts(Consumer<AddArtifactsRequest.Builder> request) {
    return addArtifacts(Calls.build(AddArtifactsRequest.newBuilder(), request, AddArtifactsRequest.Builder::build));
  }

  /** Every artifact of a session, oldest first. */
  public Pages<SessionArtifact> listArtifacts(ListArtifactsRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListArtifactsResponse page =
              calls.unary(
                  ArtifactServiceGrpc.getListArtifactsMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getArtifactsList(), page.getNextPageToken());
        });
  }

  /** Every artifact of a session, oldest first. */
  public Pages<SessionArtifact> listArtifacts(Consumer<ListArtifactsRequest.Builder> request) {
    return listArtifacts(Calls.build(ListArtifactsRequest.newBuilder(), request, ListArtifactsRequest.Builder::build));
  }

  /** Deletes an artifact. */
  public DeleteArtifactResponse deleteArtifact(DeleteArtifactRequest request) {
    return calls.unary(ArtifactServiceGrpc.getDeleteArtifactMethod(), request);
  }

  /** Deletes an artifact. */
  public DeleteArtifactResponse deleteArtifact(Consumer<DeleteArtifactRequest.Builder> request) {
    return deleteArtifact(
        Calls.build(DeleteArtifactRequest.newBuilder(), request, DeleteArtifactRequest.Builder::build));
  }
}
