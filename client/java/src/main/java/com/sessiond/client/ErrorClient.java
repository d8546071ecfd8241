package com.sessiond.client;

import com.sessiond.v1.ErrorServiceGrpc;
import com.sessiond.v1.GetErrorRequest;
import com.sessiond.v1.ListErrorsRequest;
import com.sessiond.v1.ListErrorsResponse;
import com.sessiond.v1.RecordErrorRequest;
import com.sessiond.v1.ResolveErrorRequest;
import com.sessiond.v1.SessionError;
import com.sessiond.v1.SummarizeErrorsRequest;
import com.sessiond.v1.SummarizeErrorsResponse;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Records, finds, counts and resolves errors.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/error_service.proto} says what each is refused for. It takes a
 * request, or what fills one in. A change without a request_id gets one, the same for all its retries. Thread-safe.
 */
public final class ErrorClient {
  private final Calls calls;

  ErrorClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public ErrorClient withTimeout(Duration timeout) {
    return new ErrorClient(calls.withTimeout(timeout));
  }

  /** Records an error. */
  public SessionError recordError(RecordErrorRequest request) {
    return calls.unary(ErrorServiceGrpc.getRecordErrorMethod(), request);
  }

  /** Records an error. */
  public SessionError recordError(Consumer<RecordErrorRequest.Builder> request) {
    return recordError(Calls.build(RecordErrorRequest.newBuilder(), request, RecordErrorRequest.Builder::build));
  }

  /** Answers one error. */
  public SessionError getError(GetErrorRequest request) {
    return calls.unary(ErrorServiceGrpc.getGetErrorMethod(), request);
  }

  /** Answers one error. */
  public SessionError getError(Consumer<GetErrorRequest.Builder> request) {
    return getError(Calls.build(GetErrorRequest.newBuilder(), request, GetErrorRequest.Builder::build));
  }

  /** Every error that matches, the newest first. */
  public Pages<SessionError> listErrors(ListErrorsRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListErrorsResponse page =
              calls.unary(ErrorServiceGrpc.getListErrorsMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getErrorsList(), page.getNextPageToken());
        });
  }

  /** Every error that matches, the newest first. */
  public Pages<SessionError> listErrors(Consumer<ListErrorsRequest.Builder> request) {
    return listErrors(Calls.build(ListErrorsRequest.newBuilder(), request, ListErrorsRequest.Builder::build));
  }

  /** Marks an error as resolved. */
  public SessionError resolveError(ResolveErrorRequest request) {
    return calls.unary(ErrorServiceGrpc.getResolveErrorMethod(), request);
  }

  /** Marks an error as resolved. */
  public SessionError resolveError(Consumer<ResolveErrorRequest.Builder> request) {
    return resolveError(Calls.build(ResolveErrorRequest.newBuilder(), request, ResolveErrorRequest.Builder::build));
  }

  /** Counts errors, and finds the patterns among them. */
  public SummarizeErrorsResponse summarizeErrors(SummarizeErrorsRequest request) {
    return calls.unary(ErrorServiceGrpc.getSummarizeErrorsMethod(), request);
  }

  /** Counts errors, and finds the patterns among them. */
  public SummarizeErrorsResponse summarizeErrors(Consumer<SummarizeErrorsRequest.Builder> request) {
    return summarizeErrors(
        Calls.build(SummarizeErrorsRequest.newBuilder(), request, SummarizeErrorsRequest.Builder::build));
  }
}
