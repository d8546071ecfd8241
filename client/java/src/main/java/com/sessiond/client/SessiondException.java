package com.sessiond.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.sessiond.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.nio.channels.ClosedChannelException;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * A call that did not succeed, and why. There is one subclass for each code of gRPC:
 *
 * <pre>{@code
 * try {
 *   client.sessions().advanceSession(r -> r.setSessionId(id).setTargetStage("review"));
 * } catch (SessiondException.FailedPrecondition e) {
 *   if (e.reason() == ErrorReason.INVALID_TRANSITION) {
 *     System.out.println("Reachable: " + e.metadata().get("allowed"));
 *   }
 * }
 * }</pre>
 *
 * <p>{@link #getMessage} is a sentence that a person can act on.
 */
public class SessiondException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private static final String DOMAIN = "sessiond";
  private static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private final String method;
  private final Status.Code code;
  // The details that came with it, and nothing else.
  private final com.google.rpc.Status status;
  private final String pushback;

  private SessiondException(Parts parts) {
    super(parts.message(), parts.cause());
    this.method = parts.method();
    this.code = parts.code();
    this.status = parts.status();
    this.pushback = parts.pushback();
  }

  /** The RPC that was refused, for example {@code sessiond.v1.SessionService/GetSession}. */
  public final String method() {
    return method;
  }

  /** gRPC's code. */
  public final Status.Code code() {
    return code;
  }

  /**
   * Why. {@link ErrorReason#ERROR_REASON_UNSPECIFIED} when the refusal did not come from sessiond, and {@link
   * ErrorReason#UNRECOGNIZED} for a reason that is newer than this client: {@link #reasonName} has its name.
   */
  public final ErrorReason reason() {
    String name = reasonName();
    if (name.isEmpty()) return ErrorReason.ERROR_REASON_UNSPECIFIED;
    try {
      return ErrorReason.valueOf(name);
    } catch (IllegalArgumentException e) {
      return ErrorReason.UNRECOGNIZED;
    }
  }

  /** The reason's name; empty when the refusal did not come from sessiond. */
  public final String reasonName() {
    return info().map(ErrorInfo::getReason).orElse("");
  }

  /** Who can fix it. */
  public final Category category() {
    String name = info().map(info -> info.getMetadataOrDefault("category", "")).orElse("");
    for (Category category : Category.values()) {
      if (category.name().equals(name)) return category;
    }
    return Category.UNKNOWN;
  }

  /** Whether sessiond said it, and not the connection, a proxy or this client. */
  public final boolean fromDaemon() {
    return info().isPresent();
  }

  /** What {@link ErrorReason} documents for the reason, by name. */
  public final Map<String, String> metadata() {
    Map<String, String> metadata = new TreeMap<>(info().map(ErrorInfo::getMetadataMap).orElse(Map.of()));
    metadata.remove("category");
    return metadata;
  }

  /** The fields of the request that cannot be taken, each with why; empty for other refusals. */
  public final List<FieldViolation> fieldViolations() {
    return detail(BadRequest.class).map(BadRequest::getFieldViolationsList).orElse(List.of()).stream()
        .map(violation -> new FieldViolation(violation.getField(), violation.getDescription()))
        .toList();
  }

  /** How long to wait at least before the next try, if it said so. */
  public final Optional<Duration> retryAfter() {
    return detail(RetryInfo.class).map(info -> Values.duration(info.getRetryDelay()));
  }

  /** One detail of the refusal by its type, for example {@code com.google.rpc.PreconditionFailure}. */
  public final <T extends Message> Optional<T> detail(Class<T> type) {
    for (Any detail : status.getDetailsList()) {
      if (!detail.is(type)) continue;
      try {
        return Optional.of(detail.unpack(type));
      } catch (InvalidProtocolBufferException e) {
        return Optional.empty();
      }
    }
    return Optional.empty();
  }

  /**
   * The pause that {@code grpc-retry-pushback-ms} asks for; negative when it forbids a retry, which a value that is no
   * number does, too.
   */
  final Optional<Duration> pushback() {
    if (pushback == null) return Optional.empty();
    try {
      return Optional.of(Duration.ofMillis(Long.parseLong(pushback.trim())));
    } catch (NumberFormatException e) {
      return Optional.of(Duration.ofMillis(-1));
    }
  }

  private Optional<ErrorInfo> info() {
    return detail(ErrorInfo.class).filter(info -> info.getDomain().equals(DOMAIN));
  }

  /** A field of a request that cannot be taken: its path in the request, and why. */
  public record FieldViolation(String field, String description) {}

  /** The request, or a part of it, can never be accepted. */
  public static final class InvalidArgument extends SessiondException {
    private static final long serialVersionUID = 1L;

    private InvalidArgument(Parts parts) {
      super(parts);
    }
  }

  /** What was asked for is not there; {@link #why} says why. */
  public static final class NotFound extends SessiondException {
    private static final long serialVersionUID = 1L;

    private NotFound(Parts parts) {
      super(parts);
    }

    /** Why it is not there. */
    public Why why() {
      return switch (reason()) {
        case NEVER_EXISTED -> Why.NEVER_EXISTED;
        case DELETED -> Why.DELETED;
        case ARCHIVED -> Why.ARCHIVED;
        case TASK_NOT_FOUND -> Why.NO_TASK;
        case ERROR_NOT_FOUND -> Why.NO_SUCH_ERROR;
        case ARTIFACT_NOT_FOUND -> Why.NO_SUCH_ARTIFACT;
        case WORKFLOW_NOT_FOUND -> Why.NO_SUCH_WORKFLOW;
        default -> Why.OTHER;
      };
    }

    /** Since when it is deleted or archived. */
    public Optional<Instant> since() {
      Map<String, String> metadata = metadata();
      String time = metadata.getOrDefault("delete_time", metadata.get("archive_time"));
      try {
        return Optional.ofNullable(time).map(Instant::parse);
      } catch (DateTimeParseException e) {
        return Optional.empty();
      }
    }

    /** Why something is not there. */
    public enum Why {
      /** No session ever had this id, as far as the caller may see. */
      NEVER_EXISTED,
      /** The session was deleted; {@code include_deleted} shows it, and UndeleteSession brings it back. */
      DELETED,
      /** The session's payload was removed by retention or erasure. */
      ARCHIVED,
      /** The session never had a task. */
      NO_TASK,
      /** The session has no such error. */
      NO_SUCH_ERROR,
      /** The session has no such artifact, or none of the kind needed. */
      NO_SUCH_ARTIFACT,
      /** There is no workflow of this name, or no such revision of it. */
      NO_SUCH_WORKFLOW,
      /** A reason that is newer than this client, or not sessiond's. */
      OTHER
    }
  }

  /** What was to be created is there already. */
  public static final class AlreadyExists extends SessiondException {
    private static final long serialVersionUID = 1L;

    private AlreadyExists(Parts parts) {
      super(parts);
    }
  }

  /** Not as the session, its task or its errors stand now. */
  public static final class FailedPrecondition extends SessiondException {
    private static final long serialVersionUID = 1L;

    private FailedPrecondition(Parts parts) {
      super(parts);
    }
  }

  /** Somebody else was faster: the etag is an old one, or a race was lost. */
  public static final class Aborted extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Aborted(Parts parts) {
      super(parts);
    }
  }

  /** A watch cannot be resumed that far back. */
  public static final class OutOfRange extends SessiondException {
    private static final long serialVersionUID = 1L;

    private OutOfRange(Parts parts) {
      super(parts);
    }
  }

  /** Too large, too many or too fast. */
  public static final class ResourceExhausted extends SessiondException {
    private static final long serialVersionUID = 1L;

    private ResourceExhausted(Parts parts) {
      super(parts);
    }
  }

  /** The daemon, its database or the way to it is away, and was until the deadline. */
  public static final class Unavailable extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Unavailable(Parts parts) {
      super(parts);
    }
  }

  /** The credentials are not accepted. */
  public static final class Unauthenticated extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Unauthenticated(Parts parts) {
      super(parts);
    }
  }

  /** The caller may not do this. */
  public static final class PermissionDenied extends SessiondException {
    private static final long serialVersionUID = 1L;

    private PermissionDenied(Parts parts) {
      super(parts);
    }
  }

  /** A defect, of the daemon, its database or the way to it. */
  public static final class Internal extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Internal(Parts parts) {
      super(parts);
    }
  }

  /** No answer until the deadline; a change may have taken effect. */
  public static final class DeadlineExceeded extends SessiondException {
    private static final long serialVersionUID = 1L;

    private DeadlineExceeded(Parts parts) {
      super(parts);
    }
  }

  /** The call was cancelled: the thread was interrupted, or the client closed. */
  public static final class Cancelled extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Cancelled(Parts parts) {
      super(parts);
    }
  }

  /** The daemon does not know this method: it is older than this client. */
  public static final class Unimplemented extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Unimplemented(Parts parts) {
      super(parts);
    }
  }

  /** Nobody said what it was. */
  public static final class Unknown extends SessiondException {
    private static final long serialVersionUID = 1L;

    private Unknown(Parts parts) {
      super(parts);
    }
  }

  static SessiondException of(String method, Throwable thrown) {
    Status status = Status.fromThrowable(thrown);
    // gRPC's own exception has nothing that this one does not have, and cannot be serialized.
    return of(method, status, trailersOf(thrown), status.getCause());
  }

  static SessiondException of(String method, Status given, Metadata trailers, Throwable cause) {
    Status status = isLostConnection(given) ? Status.UNAVAILABLE.withDescription("The connection was lost") : given;
    com.google.rpc.Status details =
        trailers == null ? null : StatusProto.fromStatusAndTrailers(status, trailers);
    String message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    Parts parts =
        new Parts(
            method,
            status.getCode(),
            message,
            details == null ? com.google.rpc.Status.getDefaultInstance() : details,
            trailers == null ? null : trailers.get(PUSHBACK),
            cause);
    return switch (status.getCode()) {
      case INVALID_ARGUMENT -> new InvalidArgument(parts);
      case NOT_FOUND -> new NotFound(parts);
      case ALREADY_EXISTS -> new AlreadyExists(parts);
      case FAILED_PRECONDITION -> new FailedPrecondition(parts);
      case ABORTED -> new Aborted(parts);
      case OUT_OF_RANGE -> new OutOfRange(parts);
      case RESOURCE_EXHAUSTED -> new ResourceExhausted(parts);
      case UNAVAILABLE -> new Unavailable(parts);
      case UNAUTHENTICATED -> new Unauthenticated(parts);
      case PERMISSION_DENIED -> new PermissionDenied(parts);
      case INTERNAL, DATA_LOSS -> new Internal(parts);
      case DEADLINE_EXCEEDED -> new DeadlineExceeded(parts);
      case CANCELLED -> new Cancelled(parts);
      case UNIMPLEMENTED -> new Unimplemented(parts);
      case UNKNOWN -> new Unknown(parts);
      case OK -> throw new IllegalArgumentException("OK is no refusal");
    };
  }

  /** gRPC calls it UNKNOWN where a connection ends at an unlucky moment. */
  private static boolean isLostConnection(Status status) {
    return status.getCode() == Status.Code.UNKNOWN && status.getCause() instanceof ClosedChannelException;
  }

  private static Metadata trailersOf(Throwable thrown) {
    if (thrown instanceof StatusRuntimeException e) return e.getTrailers();
    if (thrown instanceof StatusException e) return e.getTrailers();
    return null;
  }

  private record Parts(
      String method,
      Status.Code code,
      String message,
      com.google.rpc.Status status,
      String pushback,
      Throwable cause) {}
}
