package com.sessiond.client;

import com.sessiond.v1.WatchSessionsRequest;
import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.MethodDescriptor;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * A client of sessiond: one connection, for any number of threads.
 *
 * <pre>{@code
 * try (SessiondClient client = SessiondClient.builder().address("127.0.0.1:7377").build()) {
 *   Session session = client.sessions().getSession(r -> r.setSessionId(id));
 * }
 * }</pre>
 *
 * <p>Calls block, at most for the builder's timeout, and throw {@link SessiondException}. Every change has a
 * request_id,
 * the same for all its retries, so that it takes effect once. What is answered UNAVAILABLE is tried again by itself.
 */
public final class SessiondClient implements AutoCloseable {
  /**
   * The W3C's traceparent of what a thread is doing, for {@link Builder#traceparent} where nothing else is set:
   *
   * <pre>{@code
   * Context.current().withValue(SessiondClient.TRACEPARENT, header).run(() -> client.sessions()…);
   * }</pre>
   */
  public static final Context.Key<String> TRACEPARENT = Context.key("sessiond-traceparent");

  /** The version of this client, which is the daemon's that it was made for. */
  public static final String VERSION = readVersion();

  // How long close() waits for what is under way to end.
  private static final Duration CLOSE_MAX = Duration.ofSeconds(5);

  private final ManagedChannel connection;
  private final Calls calls;

  private SessiondClient(ManagedChannel connection, Channel channel, Calls.Settings settings) {
    this.connection = connection;
    this.calls = new Calls(connection, channel, settings);
  }

  /** A client as the process's environment says: SESSIOND_SERVER and SESSIOND_TOKEN_FILE. */
  public static SessiondClient create() {
    return builder().build();
  }

  /** Begins with what the process's environment says: SESSIOND_SERVER and SESSIOND_TOKEN_FILE. */
  public static Builder builder() {
    return builder(System.getenv());
  }

  /** Begins with what an environment of your own says. */
  public static Builder builder(Map<String, String> environment) {
    return new Builder(environment);
  }

  /** Sessions: from their creation to their end. */
  public SessionClient sessions() {
    return new SessionClient(calls);
  }

  /** Tasks; {@link #task} runs one. */
  public TaskClient tasks() {
    return new TaskClient(calls);
  }

  /** Errors. */
  public ErrorClient errors() {
    return new ErrorClient(calls);
  }

  /** Messages. */
  public MessageClient messages() {
    return new MessageClient(calls);
  }

  /** Artifacts: files and tickets. */
  public ArtifactClient artifacts() {
    return new ArtifactClient(calls);
  }

  /** Definitions of workflows. */
  public WorkflowClient workflows() {
    return new WorkflowClient(calls);
  }

  /** What looks after many sessions at once. */
  public AdminClient admin() {
    return new AdminClient(calls);
  }

  /** A watch of changes that resumes by itself. It does not connect before it is read. */
  public Watcher watch(WatchSessionsRequest request) {
    return watch(request, new WatchOptions());
  }

  /** A watch of changes that resumes by itself. It does not connect before it is read. */
  public Watcher watch(Consumer<WatchSessionsRequest.Builder> request) {
    return watch(request, new WatchOptions());
  }

  /** A watch of changes that resumes by itself. It does not connect before it is read. */
  public Watcher watch(Consumer<WatchSessionsRequest.Builder> request, WatchOptions options) {
    return watch(
        Calls.build(WatchSessionsRequest.newBuilder(), request, WatchSessionsRequest.Builder::build), options);
  }

  /** A watch of changes that resumes by itself. It does not connect before it is read. */
  public Watcher watch(WatchSessionsRequest request, WatchOptions options) {
    return new Watcher(calls, request, options);
  }

  /** A run of a session's task around work of yours: start, heartbeats, end. */
  public TaskRunner task(String sessionId, String taskType) {
    return new TaskRunner(calls, sessionId, taskType);
  }

  /** What calls go through, for generated stubs of your own: with its credentials, without retries or deadlines. */
  public Channel channel() {
    return calls.channel();
  }

  /** Ends the watches, interrupts the work of tasks, and ends the calls under way after at most five seconds. */
  @Override
  public void close() {
    calls.close();
    try {
      if (connection.awaitTermination(CLOSE_MAX.toMillis(), TimeUnit.MILLISECONDS)) return;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    connection.shutdownNow();
  }

  private static String readVersion() {
    try (InputStream file = SessiondClient.class.getResourceAsStream("client.properties")) {
      Properties properties = new Properties();
      properties.load(file);
      return properties.getProperty("version");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** How a client connects and calls. */
  public static final class Builder {
    private String addressFrom = "address";
    private String address;
    private boolean tls;
    private Path trusted;
    private Path certificate;
    private Path key;
    private Supplier<String> token;
    // It is always the same, and can be checked at once.
    private boolean tokenGiven;
    private boolean tokenInPlaintext;
    private Duration timeout = Duration.ofSeconds(10);
    private Duration backoffInitial = Duration.ofMillis(50);
    private Duration backoffMax = Duration.ofSeconds(2);
    private ClientListener listener = new ClientListener() {};
    private Supplier<String> traceparent = TRACEPARENT::get;
    private final List<ClientInterceptor> interceptors = new ArrayList<>();
    private Consumer<ManagedChannelBuilder<?>> channel = unused -> {};

    private Builder(Map<String, String> environment) {
      String server = environment.getOrDefault("SESSIOND_SERVER", "");
      if (!server.isEmpty()) addressFrom = "SESSIOND_SERVER";
      address = server.isEmpty() ? ServerAddress.DEFAULT : server;
      String file = environment.getOrDefault("SESSIOND_TOKEN_FILE", "");
      if (!file.isEmpty()) tokenFile(Path.of(file));
    }

    /** {@code HOST:PORT}, {@code unix:PATH}, or one of gRPC's {@code dns:} names. Default: 127.0.0.1:7377. */
    public Builder address(String address) {
      this.addressFrom = "address";
      this.address = address;
      return this;
    }

    /** Encrypts, and trusts whom the JVM trusts. */
    public Builder tls() {
      this.tls = true;
      return this;
    }

    /** Encrypts, and trusts the authorities of a PEM file. */
    public Builder tls(Path trustedCertificates) {
      this.trusted = named("tls", trustedCertificates);
      return tls();
    }

    /** Encrypts, and shows a certificate of its own (mutual TLS): a chain and its key, as PEM files. */
    public Builder clientCertificate(Path certificateChain, Path privateKey) {
      this.certificate = named("clientCertificate", certificateChain);
      this.key = named("clientCertificate", privateKey);
      return tls();
    }

    /** A bearer token. */
    public Builder token(String token) {
      token(() -> token);
      this.tokenGiven = true;
      return this;
    }

    /**
     * A bearer token, asked for at every attempt of every call, on any thread: it is to answer at once. What it throws
     * ends the call as UNAUTHENTICATED; the code of a StatusRuntimeException or SessiondException is taken as it is, so
     * that UNAVAILABLE is tried again.
     */
    public Builder token(Supplier<String> token) {
      this.token = token;
      this.tokenGiven = false;
      return this;
    }

    /**
     * A bearer token in a file, which is read for every attempt: so it can be replaced. While there is none in the
     * file, as in the middle of that, the last one is sent.
     */
    public Builder tokenFile(Path file) {
      return token(BearerToken.ofFile(named("tokenFile", file)));
    }

    /** Sends the token unencrypted off this machine too: where a proxy beside it encrypts. */
    public Builder tokenInPlaintext() {
      this.tokenInPlaintext = true;
      return this;
    }

    /** How long each call may take, its retries included. Default: 10 seconds. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /**
     * The pause before the first retry, and the longest. Each further one is twice as long, and drawn between half and
     * the whole of that. What the daemon asks for takes precedence where it is longer. Default: 50 ms, 2 s.
     */
    public Builder backoff(Duration initial, Duration max) {
      this.backoffInitial = initial;
      this.backoffMax = max;
      return this;
    }

    /** Is told of retries, resumed watches and missed heartbeats. */
    public Builder listener(ClientListener listener) {
      this.listener = listener;
      return this;
    }

    /**
     * Answers the W3C's traceparent of what the calling thread is doing, or null. When it throws an exception, or
     * answers what is no traceparent, that is logged, and the call goes on without; an Error goes on. Default: {@link
     * #TRACEPARENT} of gRPC's context.
     */
    public Builder traceparent(Supplier<String> traceparent) {
      this.traceparent = traceparent;
      return this;
    }

    /** An interceptor of your own, for example a tracer's. */
    public Builder interceptor(ClientInterceptor interceptor) {
      this.interceptors.add(interceptor);
      return this;
    }

    /** Changes what else gRPC lets one set, after all of this. */
    public Builder channel(Consumer<ManagedChannelBuilder<?>> change) {
      this.channel = change;
      return this;
    }

    /** A client, which connects with its first call. Throws IllegalArgumentException for what cannot be. */
    public SessiondClient build() {
      ServerAddress server = ServerAddress.parse(addressFrom, address);
      if (token != null && !tls && !server.local() && !tokenInPlaintext) {
        throw new IllegalArgumentException(
            "The token would go to " + address + " unencrypted; use tls(), or tokenInPlaintext() behind a proxy");
      }
      return build(newChannel(server.target()));
    }

    private ManagedChannelBuilder<?> newChannel(String target) {
      ChannelCredentials credentials = credentials();
      if (certificate == null) return Grpc.newChannelBuilder(target, credentials);
      ManagedChannelBuilder<?> builder;
      try {
        builder = Grpc.newChannelBuilder(target, credentials);
      } catch (RuntimeException e) { // Of several kinds, of which none names a file.
        String files = certificate + " with the key in " + key;
        throw new IllegalArgumentException("The certificate in " + files + " cannot be used: " + e.getMessage(), e);
      }
      OwnCertificate.requireItsKey(certificate, key);
      return builder;
    }

    /** Over a channel of another kind, for tests. */
    SessiondClient build(ManagedChannelBuilder<?> builder) {
      if (backoffInitial.compareTo(backoffMax) > 0 || backoffInitial.isNegative() || backoffInitial.isZero()) {
        throw new IllegalArgumentException(
            "backoff is " + backoffInitial + " to " + backoffMax + "; it has to grow from more than nothing");
      }
      Calls.requireTimeout(timeout);
      if (tokenGiven) BearerToken.checked("token", token.get());
      builder
          .userAgent("sessiond-java/" + VERSION)
          // 30 s: finds a dead peer behind a NAT; the daemon accepts a ping a second.
          .keepAliveTime(30, TimeUnit.SECONDS)
          // Retries are made here, once, and not by what a name server may publish too.
          .disableServiceConfigLookUp();
      channel.accept(builder);
      ManagedChannel connection = builder.build();
      List<ClientInterceptor> all = new ArrayList<>();
      if (token != null) all.add(new WithCredentials(new BearerToken(token)));
      all.add(new TraceHeader(traceparent));
      all.addAll(interceptors);
      Calls.Settings settings = new Calls.Settings(timeout, backoffInitial, backoffMax, listener);
      return new SessiondClient(connection, ClientInterceptors.intercept(connection, all), settings);
    }

    private ChannelCredentials credentials() {
      if (!tls) return InsecureChannelCredentials.create();
      TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
      try {
        if (trusted != null) builder.trustManager(Authorities.read(trusted));
        if (certificate != null) builder.keyManager(certificate.toFile(), key.toFile());
      } catch (IOException e) {
        throw new IllegalArgumentException("A file for TLS cannot be read: " + e.getMessage(), e);
      }
      return builder.build();
    }

    /** The file; {@code what} says what for. An empty name would be the folder that the process runs in. */
    private static Path named(String what, Path file) {
      if (file.toString().isEmpty()) throw new IllegalArgumentException(what + ": the file's name is empty");
      return file;
    }
  }

  private record WithCredentials(CallCredentials credentials) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return next.newCall(method, options.withCallCredentials(credentials));
    }
  }
}
