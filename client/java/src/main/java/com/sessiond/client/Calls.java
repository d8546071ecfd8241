package com.sessiond.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;

/** What all calls have in common: a deadline, a request_id, safe retries, and readable refusals. Thread-safe. */
final class Calls {
  static final System.Logger LOG = System.getLogger("com.sessiond.client");

  /** How calls are made. */
  record Settings(Duration timeout, Duration backoffInitial, Duration backoffMax, ClientListener listener) {
    Backoff backoff() {
      return new Backoff(backoffInitial, backoffMax);
    }

    /** Tells the listener. One that fails is no reason for a call, or for a heartbeat, to. */
    void tell(Consumer<ClientListener> event) {
      try {
        event.accept(listener);
      } catch (Exception | LinkageError e) {
        LOG.log(Level.WARNING, "The listener threw", e);
      }
    }
  }

  private final ManagedChannel connection;
  // The connection, behind its interceptors.
  private final Channel channel;
  private final Settings settings;
  // What ends with the client: watches, and work that runs.
  private final Set<Runnable> endings;

  Calls(ManagedChannel connection, Channel channel, Settings settings) {
    this(connection, channel, settings, ConcurrentHashMap.newKeySet());
  }

  private Calls(ManagedChannel connection, Channel channel, Settings settings, Set<Runnable> endings) {
    this.connection = connection;
    this.channel = channel;
    this.settings = settings;
    this.endings = endings;
  }

  Calls withTimeout(Duration timeout) {
    requireTimeout(timeout);
    return new Calls(
        connection,
        channel,
        new Settings(timeout, settings.backoffInitial, settings.backoffMax, settings.listener),
        endings);
  }

  static void requireTimeout(Duration timeout) {
    if (timeout.isNegative() || timeout.isZero()) {
      throw new IllegalArgumentException("timeout is " + timeout + "; it has to be longer than nothing");
    }
  }

  Settings settings() {
    return settings;
  }

  Channel channel() {
    return channel;
  }

  /**
   * Makes a call, and repeats it as long as it is answered UNAVAILABLE and the deadline allows. Only UNAVAILABLE is
   * retried: the daemon answers it when nothing was done, or when the same request_id makes sure that nothing is done
   * twice.
   */
  <Q extends Message, A> A unary(MethodDescriptor<Q, A> method, Q given) {
    Q request = Texts.checked(method.getFullMethodName(), withRequestId(given));
    Deadline deadline = Deadline.after(settings.timeout.toNanos(), TimeUnit.NANOSECONDS);
    Deadline outer = Context.current().getDeadline();
    if (outer != null) deadline = deadline.minimum(outer);
    Backoff backoff = settings.backoff();
    while (true) {
      SessiondException refusal;
      try {
        return ClientCalls.blockingUnaryCall(channel, method, CallOptions.DEFAULT.withDeadline(deadline), request);
      } catch (StatusRuntimeException e) {
        refusal = SessiondException.of(method.getFullMethodName(), e);
      }
      if (!(refusal instanceof SessiondException.Unavailable) || isClosed()) throw refusal;
      if (refusal.pushback().map(Duration::isNegative).orElse(false)) throw refusal;
      Duration pause = backoff.next(refusal);
      if (pause.toNanos() >= deadline.timeRemaining(TimeUnit.NANOSECONDS)) throw refusal;
      LOG.log(Level.DEBUG, "{0} is tried again in {1}: {2}", method.getFullMethodName(), pause, refusal.getMessage());
      settings.tell(listener -> listener.onRetry(method.getFullMethodName(), refusal, pause));
      reconnect();
      try {
        TimeUnit.NANOSECONDS.sleep(pause.toNanos());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        refusal.addSuppressed(e);
        throw refusal;
      }
    }
  }

  /** Calls this when the client is closed. */
  void atClose(Runnable ending) {
    endings.add(ending);
  }

  /** Takes it back. */
  void notAtClose(Runnable ending) {
    endings.remove(ending);
  }

  /** The client is being closed. */
  void close() {
    endings.forEach(Runnable::run);
    connection.shutdown();
  }

  /** Whether nothing can be called any more. */
  boolean isClosed() {
    return connection.isShutdown();
  }

  /** Connects at once, if there is no connection: gRPC's own pauses grow to two minutes. */
  void reconnect() {
    connection.resetConnectBackoff();
  }

  /** Takes a new connection for what begins from now on. What is under way keeps the old one. */
  void leaveConnection() {
    connection.enterIdle();
  }

  /** A request, filled in. */
  static <B, Q> Q build(B builder, Consumer<B> fill, Function<B, Q> build) {
    fill.accept(builder);
    return build.apply(builder);
  }

  /** The request, with a request_id of its own if it has the field and it is empty. */
  @SuppressWarnings("unchecked") // A builder builds what it was made from.
  private static <Q extends Message> Q withRequestId(Q request) {
    FieldDescriptor field = request.getDescriptorForType().findFieldByName("request_id");
    if (field == null || !((String) request.getField(field)).isEmpty()) return request;
    return (Q) request.toBuilder().setField(field, UUID.randomUUID().toString()).build();
  }

  /** Whether the same request may succeed in a moment, also on a stream. */
  static boolean passesByItself(SessiondException why) {
    if (why.category() != Category.UNKNOWN) return why.category() == Category.TEMPORARY;
    return switch (why.code()) {
      // Not the daemon's own words: CANCELLED is one that went down in a hurry, DEADLINE_EXCEEDED a proxy that limits
      // the life of streams, INTERNAL one that resets them, UNKNOWN one that answered in another language.
      case UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED, DEADLINE_EXCEEDED -> true;
      default -> false;
    };
  }
}
