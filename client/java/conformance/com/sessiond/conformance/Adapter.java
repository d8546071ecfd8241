package com.sessiond.conformance;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.Struct;
import com.google.protobuf.util.JsonFormat;
import com.sessiond.client.Category;
import com.sessiond.client.Pages;
import com.sessiond.client.SessiondClient;
import com.sessiond.client.SessiondException;
import com.sessiond.client.TaskException;
import com.sessiond.client.TaskRunner;
import com.sessiond.client.Values;
import com.sessiond.client.WatchItem;
import com.sessiond.client.WatchOptions;
import com.sessiond.client.Watcher;
import com.sessiond.v1.ListRecoverableSessionsResponse;
import com.sessiond.v1.SessionTask;
import com.sessiond.v1.UpdateSessionRequest;
import com.sessiond.v1.WatchSessionsRequest;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/** The adapter of docs/conformance.md: JSON lines on stdin, calls of the library, JSON lines on stdout. */
public final class Adapter {
  private static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().preservingProtoFieldNames().omittingInsignificantWhitespace();

  private final Map<String, SessiondClient> clients = new ConcurrentHashMap<>();
  private final Map<String, Watcher> watches = new ConcurrentHashMap<>();
  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private record Unsupported(String why) {}

  public static void main(String[] arguments) throws Exception {
    Adapter adapter = new Adapter();
    ExecutorService threads = Executors.newCachedThreadPool();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonObject request = JsonParser.parseString(line).getAsJsonObject();
      threads.execute(() -> adapter.answer(request));
    }
    System.exit(0);
  }

  private void answer(JsonObject request) {
    JsonObject answer = new JsonObject();
    answer.add("id", request.get("id"));
    try {
      Object ok =
          serve(text(request, "op"), text(request, "client"), part(request, "args"), part(request, "options"));
      if (ok instanceof Unsupported unsupported) {
        answer.addProperty("unsupported", unsupported.why());
      } else {
        answer.add("ok", (JsonElement) ok);
      }
    } catch (SessiondException e) {
      answer.add("error", error(e));
    } catch (Exception e) {
      e.printStackTrace();
      answer.addProperty("broken", e.toString());
    }
    synchronized (out) {
      out.println(GSON.toJson(answer));
    }
  }

  private Object serve(String op, String client, JsonObject args, JsonObject options) throws Exception {
    return switch (op) {
      case "hello" -> json("language", "java", "version", SessiondClient.VERSION, "protocol", 1);
      case "connect" -> {
        clients.put(client, connect(args));
        yield new JsonObject();
      }
      case "disconnect" -> {
        SessiondClient open = clients.remove(client);
        if (open != null) open.close();
        yield new JsonObject();
      }
      case "watch_open" -> {
        WatchOptions watch = new WatchOptions();
        if (options.has("silence_s")) watch.silence(seconds(options, "silence_s"));
        WatchSessionsRequest.Builder request = WatchSessionsRequest.newBuilder();
        JsonFormat.parser().merge(GSON.toJson(args.get("request")), request);
        watches.put(text(args, "watch"), clients.get(client).watch(request.build(), watch));
        yield new JsonObject();
      }
      case "watch_next" -> next(watches.get(text(args, "watch")), seconds(args, "timeout_s"));
      case "watch_token" -> json("token", watches.get(text(args, "watch")).resumeToken());
      case "watch_close" -> {
        watches.get(text(args, "watch")).close();
        yield new JsonObject();
      }
      case "run_task" -> runTask(clients.get(client), args);
      default -> call(clients.get(client), op, args, options);
    };
  }

  private static SessiondClient connect(JsonObject args) {
    Map<String, String> environment = new HashMap<>(System.getenv());
    part(args, "environment").entrySet().forEach(each -> environment.put(each.getKey(), each.getValue().getAsString()));
    SessiondClient.Builder builder = SessiondClient.builder(environment);
    if (args.has("address")) builder.address(text(args, "address"));
    if (args.has("timeout_s")) builder.timeout(seconds(args, "timeout_s"));
    if (args.has("token")) builder.token(text(args, "token"));
    if (args.has("token_callback")) {
      AtomicInteger asked = new AtomicInteger();
      builder.token(() -> "token-" + asked.incrementAndGet());
    }
    if (args.has("ca_file")) builder.tls(Path.of(text(args, "ca_file")));
    if (args.has("cert_file")) {
      builder.clientCertificate(Path.of(text(args, "cert_file")), Path.of(text(args, "key_file")));
    }
    if (args.has("traceparent")) builder.traceparent(() -> text(args, "traceparent"));
    return builder.build();
  }

  /** Finds the RPC by its name among the library's methods, and calls it. */
  private static Object call(SessiondClient client, String op, JsonObject args, JsonObject options) throws Exception {
    StringBuilder name = new StringBuilder();
    for (String word : op.split("_")) {
      name.append(name.isEmpty() ? word : word.substring(0, 1).toUpperCase() + word.substring(1));
    }
    List<Object> services =
        List.of(
            client.sessions(),
            client.tasks(),
            client.errors(),
            client.messages(),
            client.artifacts(),
            client.workflows(),
            client.admin());
    for (Object service : services) {
      for (Method method : service.getClass().getMethods()) {
        if (!method.getName().contentEquals(name) || method.getParameterCount() != 1) continue;
        Class<?> type = method.getParameterTypes()[0];
        if (!Message.class.isAssignableFrom(type)) continue;
        Object called = service;
        if (options.has("timeout_s")) {
          Method withTimeout = service.getClass().getMethod("withTimeout", Duration.class);
          called = withTimeout.invoke(service, seconds(options, "timeout_s"));
        }
        try {
          return result(method.invoke(called, request(type, args)), options);
        } catch (InvocationTargetException e) {
          if (e.getCause() instanceof SessiondException refusal) throw refusal;
          throw e;
        }
      }
    }
    return new Unsupported("There is no method " + name);
  }

  private static Message request(Class<?> type, JsonObject args) throws Exception {
    Message.Builder builder = (Message.Builder) type.getMethod("newBuilder").invoke(null);
    JsonObject rest = args.deepCopy();
    JsonElement mask = rest.remove("update_mask"); // A list: Java's JSON would change names in it.
    JsonFormat.parser().merge(GSON.toJson(rest), builder);
    if (mask != null) {
      UpdateSessionRequest.Builder update = (UpdateSessionRequest.Builder) builder;
      mask.getAsJsonArray().forEach(path -> update.getUpdateMaskBuilder().addPaths(path.getAsString()));
    }
    return builder.build();
  }

  private static JsonElement result(Object answer, JsonObject options) throws InvalidProtocolBufferException {
    Iterator<?> items;
    if (answer instanceof Pages<?> pages) {
      items = pages.iterator();
    } else if (answer instanceof ListRecoverableSessionsResponse response) {
      items = response.getSessionsList().iterator();
    } else {
      return print((Message) answer);
    }
    JsonArray list = new JsonArray();
    int take = options.has("take") ? options.get("take").getAsInt() : Integer.MAX_VALUE;
    while (list.size() < take && items.hasNext()) list.add(print((Message) items.next()));
    return json("items", list);
  }

  private static JsonObject next(Watcher watch, Duration timeout) throws InvalidProtocolBufferException {
    Optional<WatchItem> next = watch.poll(timeout);
    if (next.isEmpty()) return json("kind", watch.isClosed() ? "end" : "timeout");
    WatchItem item = next.get();
    if (item instanceof WatchItem.State state) return json("kind", "session", "session", print(state.session()));
    if (item instanceof WatchItem.Bookmark) return json("kind", "bookmark");
    if (item instanceof WatchItem.Restart) return json("kind", "restart");
    WatchItem.Change change = (WatchItem.Change) item;
    JsonArray messages = new JsonArray();
    for (MessageOrBuilder message : change.messages()) messages.add(print(message));
    JsonObject told =
        json("kind", "change", "event", print(change.event()), "messages", messages, "matches", change.matches());
    if (change.session().isPresent()) told.add("session", print(change.session().get()));
    return told;
  }

  private static JsonObject runTask(SessiondClient client, JsonObject args) throws InvalidProtocolBufferException {
    TaskRunner runner = client.task(text(args, "session_id"), text(args, "task_type"));
    if (args.has("heartbeat_timeout_s")) runner.heartbeatTimeout(seconds(args, "heartbeat_timeout_s"));
    if (args.has("heartbeat_interval_s")) runner.heartbeatInterval(seconds(args, "heartbeat_interval_s"));
    if (args.has("start_stage")) runner.startStage(text(args, "start_stage"));
    if (args.has("end_stage")) runner.endStage(text(args, "end_stage"));
    if (args.has("attempts_max")) runner.attempts(args.get("attempts_max").getAsInt());
    JsonArray work = args.getAsJsonArray("work");
    AtomicInteger attempts = new AtomicInteger();
    try {
      SessionTask done =
          runner.run(
              task -> {
                JsonObject parts = work.get(Math.min(attempts.getAndIncrement(), work.size() - 1)).getAsJsonObject();
                if (parts.has("progress")) {
                  for (JsonElement progress : parts.getAsJsonArray("progress")) task.progress(map(progress));
                }
                if (parts.has("sleep_s")) Thread.sleep(seconds(parts, "sleep_s").toMillis());
                if (parts.has("until_cancelled_s")) {
                  long deadline = System.nanoTime() + seconds(parts, "until_cancelled_s").toNanos();
                  while (!task.isCancelled() && System.nanoTime() - deadline < 0) Thread.sleep(20);
                  task.throwIfCancelled();
                  throw new IllegalStateException("not cancelled");
                }
                if (parts.has("fail")) throw new IllegalStateException(text(parts, "fail"));
                return parts.has("succeed") ? map(parts.get("succeed")) : null;
              });
      return json("outcome", "completed", "task", print(done), "attempts", attempts.get(), "message", "");
    } catch (TaskException e) {
      String outcome =
          e instanceof TaskException.Failed ? "failed" : e instanceof TaskException.Cancelled ? "cancelled" : "lost";
      String message = e instanceof TaskException.Failed ? e.getCause().getMessage() : e.getMessage();
      return json("outcome", outcome, "task", print(e.task()), "attempts", e.attempts(), "message", message);
    }
  }

  private static JsonObject error(SessiondException e) {
    JsonArray fields = new JsonArray();
    e.fieldViolations().forEach(violation -> fields.add(violation.field()));
    Double retryAfter = e.retryAfter().map(delay -> delay.toNanos() / 1e9).orElse(null);
    return json(
        "code", e.code().name(),
        "class", e.getClass().getSimpleName(),
        "reason", e.reasonName(),
        "category", e.category() == Category.UNKNOWN ? "" : e.category().name(),
        "message", e.getMessage(),
        "metadata", GSON.toJsonTree(e.metadata()),
        "fields", fields,
        "retry_after_s", retryAfter == null ? JsonNull.INSTANCE : new JsonPrimitive(retryAfter),
        "from_daemon", e.fromDaemon());
  }

  private static Map<String, Object> map(JsonElement object) throws InvalidProtocolBufferException {
    Struct.Builder struct = Struct.newBuilder();
    JsonFormat.parser().merge(GSON.toJson(object), struct);
    return Values.map(struct.build());
  }

  private static JsonElement print(MessageOrBuilder message) throws InvalidProtocolBufferException {
    return JsonParser.parseString(PRINTER.print(message));
  }

  private static JsonObject json(Object... namesAndValues) {
    JsonObject object = new JsonObject();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      object.add((String) namesAndValues[i], GSON.toJsonTree(namesAndValues[i + 1]));
    }
    return object;
  }

  private static JsonObject part(JsonObject object, String name) {
    return object.has(name) ? object.getAsJsonObject(name) : new JsonObject();
  }

  private static String text(JsonObject object, String name) {
    return object.has(name) ? object.get(name).getAsString() : "";
  }

  private static Duration seconds(JsonObject object, String name) {
    return Duration.ofNanos((long) (object.get(name).getAsDouble() * 1e9));
  }
}
