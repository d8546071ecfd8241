package com.sessiond.client;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.sessiond.v1.GetSessionRequest;
import com.sessiond.v1.ListSessionsRequest;
import com.sessiond.v1.ListSessionsResponse;
import com.sessiond.v1.PauseSessionRequest;
import com.sessiond.v1.Session;
import com.sessiond.v1.SessionServiceGrpc;
import com.sessiond.v1.UpdateSessionRequest;
import com.sessiond.v1.WatchSessionsRequest;
import com.sessiond.v1.WatchSessionsResponse;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerInterceptors;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CopyOnWriteArrayList;

/** A daemon that answers as a test has written down, in this process: for what a real one does not do on demand. */
final class FakeDaemon implements AutoCloseable {
  /** What it is asked. */
  final List<Message> requests = new CopyOnWriteArrayList<>();

  /** With what headers, and when. */
  final List<Metadata> headers = new CopyOnWriteArrayList<>();

  final List<Long> times = new CopyOnWriteArrayList<>();

  private final Queue<Object> answers = new ArrayDeque<>();
  private final Server server;
  private final String name = InProcessServerBuilder.generateName();

  FakeDaemon() {
    ServerInterceptor noted =
        new ServerInterceptor() {
          @Override
          public <Q, A> ServerCall.Listener<Q> interceptCall(
              ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
            headers.add(metadata);
            times.add(System.nanoTime());
            return next.startCall(call, metadata);
          }
        };
    try {
      server =
          InProcessServerBuilder.forName(name)
              .addService(ServerInterceptors.intercept(new Sessions(), noted))
              .build()
              .start();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  SessiondClient client(SessiondClient.Builder builder) {
    return builder.build(InProcessChannelBuilder.forName(name).propagateCauseWithStatus(true));
  }

  SessiondClient client() {
    return client(SessiondClient.builder(Map.of()));
  }

  /**
   * What comes next: a response, a refusal, or a {@link #stream}.
   */
  synchronized FakeDaemon answers(Object... next) {
    answers.addAll(Arrays.asList(next));
    return this;
  }

  private record Parts(List<Object> parts) {}

  /** Responses of a stream, and the refusal that ends it; it stays open without one. */
  static Object stream(Object... parts) {
    return new Parts(List.of(parts));
  }

  /** The pause between two calls. */
  Duration pause(int behind) {
    return Duration.ofNanos(times.get(behind + 1) - times.get(behind));
  }

  static StatusRuntimeException refusal(Status.Code code, String reason, String category, Message... details) {
    com.google.rpc.Status.Builder status =
        com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("No: " + reason);
    ErrorInfo.Builder info = ErrorInfo.newBuilder().setDomain("sessiond").setReason(reason);
    status.addDetails(Any.pack(info.putMetadata("category", category).putMetadata("key", "value").build()));
    for (Message detail : details) status.addDetails(Any.pack(detail));
    return StatusProto.toStatusRuntimeException(status.build());
  }

  static RetryInfo retryAfter(Duration delay) {
    return RetryInfo.newBuilder().setRetryDelay(Values.duration(delay)).build();
  }

  static StatusRuntimeException pushback(String milliseconds) {
    Metadata trailers = new Metadata();
    trailers.put(Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), milliseconds);
    return Status.UNAVAILABLE.withDescription("Later").asRuntimeException(trailers);
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  private synchronized Object next(Message request) {
    requests.add(request);
    Object answer = answers.poll();
    return answer == null ? Status.INTERNAL.withDescription("Nothing was written down").asRuntimeException() : answer;
  }

  @SuppressWarnings("unchecked") // The test knows what it asks.
  private <A> void answer(Message request, StreamObserver<A> observer) {
    Object next = next(request);
    if (next instanceof StatusRuntimeException refusal) {
      observer.onError(refusal);
      return;
    }
    observer.onNext((A) next);
    observer.onCompleted();
  }

  private final class Sessions extends SessionServiceGrpc.SessionServiceImplBase {
    @Override
    public void getSession(GetSessionRequest request, StreamObserver<Session> observer) {
      answer(request, observer);
    }

    @Override
    public void pauseSession(PauseSessionRequest request, StreamObserver<Session> observer) {
      answer(request, observer);
    }

    @Override
    public void updateSession(UpdateSessionRequest request, StreamObserver<Session> observer) {
      answer(request, observer);
    }

    @Override
    public void listSessions(ListSessionsRequest request, StreamObserver<ListSessionsResponse> observer) {
      answer(request, observer);
    }

    @Override
    public void watchSessions(WatchSessionsRequest request, StreamObserver<WatchSessionsResponse> observer) {
      ((ServerCallStreamObserver<WatchSessionsResponse>) observer).setOnCancelHandler(() -> {});
      Object next = next(request);
      List<Object> parts = next instanceof Parts several ? several.parts() : List.of(next);
      for (Object each : parts) {
        if (each instanceof StatusRuntimeException end) {
          observer.onError(end);
        } else {
          observer.onNext((WatchSessionsResponse) each);
        }
      }
    }
  }
}
