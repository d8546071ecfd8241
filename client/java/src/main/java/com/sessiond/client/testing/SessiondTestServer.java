package com.sessiond.client.testing;

import com.sessiond.client.SessiondClient;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A sessiond of one's own for tests: {@code sessiond serve --ephemeral}, which runs a PostgreSQL of its own and throws
 * its data away at the end. It ends with {@link #close}, or with the JVM.
 *
 * <pre>{@code
 * class ExportTest {
 *   @AutoClose static final SessiondTestServer server = SessiondTestServer.start();
 *
 *   @Test
 *   void exports() {
 *     try (SessiondClient client = server.client()) { … }
 *   }
 * }
 * }</pre>
 *
 * <p>The binary is the one that SESSIOND_BINARY names, else {@code sessiond} of the PATH. Tests that share a server
 * keep apart by their sessions' namespaces.
 */
public final class SessiondTestServer implements AutoCloseable {
  // A first start makes a database; on a busy machine that takes its time.
  private static final Duration START_MAX = Duration.ofSeconds(90);
  private static final Duration STOP_MAX = Duration.ofSeconds(30);
  private static final int LOG_LINES_MAX = 200;
  private static final Pattern READY = Pattern.compile("\"msg\":\"ready\".*\"grpc\":\"([^\"]+)\"");

  private final Process process;
  private final String address;
  private final Deque<String> log;
  private final Thread ending = new Thread(this::end, "sessiond-test-server-end");

  private SessiondTestServer(Process process, String address, Deque<String> log) {
    this.process = process;
    this.address = address;
    this.log = log;
    Runtime.getRuntime().addShutdownHook(ending);
  }

  /** Starts one, on free ports, and returns when it is ready. {@code options} are further ones of {@code serve}. */
  public static SessiondTestServer start(String... options) {
    Path binary =
        binary()
            .orElseThrow(
                () -> new IllegalStateException("There is no sessiond: set SESSIOND_BINARY, or put it into the PATH"));
    List<String> command = new ArrayList<>();
    command.addAll(List.of(binary.toString(), "serve", "--ephemeral", "--log-format=json"));
    command.addAll(List.of("--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"));
    command.addAll(Arrays.asList(options));
    ProcessBuilder builder = new ProcessBuilder(command).redirectOutput(ProcessBuilder.Redirect.DISCARD);
    // What is meant for the daemons of this machine is not meant for this one.
    builder.environment().keySet().removeIf(name -> name.startsWith("SESSIOND_") || name.startsWith("PG"));
    Deque<String> log = new ArrayDeque<>();
    CompletableFuture<String> ready = new CompletableFuture<>();
    Process process;
    try {
      process = builder.start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    Thread reader = new Thread(() -> read(process, log, ready), "sessiond-test-server-log");
    reader.setDaemon(true);
    reader.start();
    try {
      return new SessiondTestServer(process, ready.get(START_MAX.toSeconds(), TimeUnit.SECONDS), log);
    } catch (InterruptedException | ExecutionException | TimeoutException e) {
      process.destroy();
      if (e instanceof InterruptedException) Thread.currentThread().interrupt();
      throw new IllegalStateException(binary + " did not become ready:\n" + text(log), e);
    }
  }

  /** The binary that {@link #start} takes, if there is one: for tests that are skipped without. */
  public static Optional<Path> binary() {
    Map<String, String> environment = System.getenv();
    String named = environment.getOrDefault("SESSIOND_BINARY", "");
    if (!named.isEmpty()) return Optional.of(Path.of(named));
    return Arrays.stream(environment.getOrDefault("PATH", "").split(":"))
        .filter(folder -> !folder.isEmpty())
        .map(folder -> Path.of(folder, "sessiond"))
        .filter(Files::isExecutable)
        .findFirst();
  }

  /** Where it listens: HOST:PORT. */
  public String address() {
    return address;
  }

  /** A client of it, to be closed by the caller. */
  public SessiondClient client() {
    return SessiondClient.builder(Map.of()).address(address).build();
  }

  /** The last lines that it said: JSON objects. */
  public String log() {
    return text(log);
  }

  /** Ends it, and its PostgreSQL. */
  @Override
  public void close() {
    end();
    try {
      Runtime.getRuntime().removeShutdownHook(ending);
    } catch (IllegalStateException e) {
      // The JVM is ending: the hook does the same.
    }
  }

  private void end() {
    process.destroy();
    try {
      if (process.waitFor(STOP_MAX.toSeconds(), TimeUnit.SECONDS)) return;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    process.destroyForcibly();
  }

  private static void read(Process process, Deque<String> log, CompletableFuture<String> ready) {
    try (BufferedReader lines = process.errorReader(StandardCharsets.UTF_8)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        synchronized (log) {
          if (log.size() == LOG_LINES_MAX) log.removeFirst();
          log.add(line);
        }
        Matcher matcher = READY.matcher(line);
        if (matcher.find()) ready.complete(matcher.group(1));
      }
      ready.completeExceptionally(new IOException("It ended"));
    } catch (IOException e) {
      ready.completeExceptionally(e);
    }
  }

  private static String text(Deque<String> log) {
    synchronized (log) {
      return String.join("\n", log);
    }
  }
}
