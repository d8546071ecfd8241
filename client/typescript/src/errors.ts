// Refusals, and everything else that can go wrong with a call, as classes to tell apart by `instanceof`.
import { Code, ConnectError } from "@connectrpc/connect";
import { timestampDate, timestampFromJson } from "./time.js";
import { BadRequestSchema, ErrorInfoSchema, PreconditionFailureSchema, RetryInfoSchema } from "./rpc.js";
import { ErrorReason } from "./gen/sessiond/v1/error_reason_pb.js";

/** Who can fix it; empty when the daemon did not say so. */
export type Category = "USER_FIXABLE" | "ADMIN_REQUIRED" | "TEMPORARY" | "";

/** The name of a gRPC code. */
export type CodeName =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** One field of the request that cannot be taken. */
export interface FieldViolation {
  /** Its path, for example `session.owner_id`. */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** One thing that would have to be true first. */
export interface PreconditionViolation {
  readonly type: string;
  readonly subject: string;
  readonly description: string;
}

/** What an error is made of. */
export interface ErrorParts {
  readonly code: CodeName;
  /** A sentence for people. */
  readonly message: string;
  readonly reasonName?: string;
  readonly category?: Category;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly preconditionViolations?: readonly PreconditionViolation[];
  readonly retryAfterMs?: number | undefined;
  readonly pushbackMs?: number | undefined;
  readonly fromDaemon?: boolean;
  readonly method?: string | undefined;
  readonly cause?: unknown;
}

/** A call that did not succeed. Its `message` is a sentence for people; `reason` is for programs. */
export class SessiondError extends Error {
  /** The gRPC code, by its name. */
  readonly code: CodeName;
  /** Why the daemon refused. ERROR_REASON_UNSPECIFIED for what is newer than this client, and what no daemon said. */
  readonly reason: ErrorReason;
  /** The name of the reason, also of one that is newer than this client; empty when no daemon said it. */
  readonly reasonName: string;
  /** Who can fix it. */
  readonly category: Category;
  /** What belongs to the reason, for example `from`, `to` and `allowed`; the comment of each reason lists it. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields that cannot be taken, all of them. */
  readonly fieldViolations: readonly FieldViolation[];
  /** What would have to be true first. */
  readonly preconditionViolations: readonly PreconditionViolation[];
  /** How long to wait before the next try, where the daemon says so. */
  readonly retryAfterMs: number | undefined;
  /** `grpc-retry-pushback-ms`: how long to wait before the next try; negative for no next try. */
  readonly pushbackMs: number | undefined;
  /** Whether the daemon itself said so, and not the network, a proxy or this client. */
  readonly fromDaemon: boolean;
  /** The call, for example `sessiond.v1.SessionService/GetSession`. */
  readonly method: string | undefined;

  constructor(parts: ErrorParts) {
    super(parts.message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = parts.code;
    this.reasonName = parts.reasonName ?? "";
    const reason = ErrorReason[this.reasonName as keyof typeof ErrorReason];
    this.reason = typeof reason === "number" ? reason : ErrorReason.ERROR_REASON_UNSPECIFIED;
    this.category = parts.category ?? "";
    this.metadata = parts.metadata ?? {};
    this.fieldViolations = parts.fieldViolations ?? [];
    this.preconditionViolations = parts.preconditionViolations ?? [];
    this.retryAfterMs = parts.retryAfterMs;
    this.pushbackMs = parts.pushbackMs;
    this.fromDaemon = parts.fromDaemon ?? false;
    this.method = parts.method;
  }

  /** Who can fix it, in words. */
  get whoCanFixIt(): string {
    switch (this.category) {
      case "USER_FIXABLE":
        return "whoever sent the request, by asking for something else";
      case "ADMIN_REQUIRED":
        return "whoever runs the service, or owns the calling program";
      case "TEMPORARY":
        return "nobody needs to: trying again may do";
      default:
        return "unknown: the daemon did not say";
    }
  }
}

/** INVALID_ARGUMENT: `fieldViolations` lists what cannot be taken. */
export class InvalidArgumentError extends SessiondError {}
/** ALREADY_EXISTS. */
export class AlreadyExistsError extends SessiondError {}
/** FAILED_PRECONDITION: not in the present state. */
export class FailedPreconditionError extends SessiondError {}
/** ABORTED: somebody was faster; read again and decide anew. */
export class AbortedError extends SessiondError {}
/** OUT_OF_RANGE: a resume token that has expired. */
export class OutOfRangeError extends SessiondError {}
/** RESOURCE_EXHAUSTED: too large, or too much. */
export class ResourceExhaustedError extends SessiondError {}
/** UNAVAILABLE, still at the end of all retries. */
export class UnavailableError extends SessiondError {}
/** UNAUTHENTICATED. */
export class UnauthenticatedError extends SessiondError {}
/** PERMISSION_DENIED. */
export class PermissionDeniedError extends SessiondError {}
/** INTERNAL. */
export class InternalError extends SessiondError {}
/** The deadline passed. A change may have taken effect: the same `requestId` tells. */
export class DeadlineExceededError extends SessiondError {}
/** The caller's own AbortSignal, or the end of the client. */
export class CancelledError extends SessiondError {}
/** UNIMPLEMENTED: a daemon older than this client. */
export class UnimplementedError extends SessiondError {}

/** NOT_FOUND: `why` says why. */
export class NotFoundError extends SessiondError {
  /** `NEVER_EXISTED`, `DELETED`, `ARCHIVED`, `TASK_NOT_FOUND`, …; the same as `reasonName`. */
  get why(): string {
    return this.reasonName;
  }
  /** Since when it is gone, if it was DELETED or ARCHIVED. */
  get since(): Date | undefined {
    const time = this.metadata["delete_time"] ?? this.metadata["archive_time"];
    return time === undefined ? undefined : timestampDate(timestampFromJson(time));
  }
}

const classes: { readonly [name in CodeName]?: new (parts: ErrorParts) => SessiondError } = {
  INVALID_ARGUMENT: InvalidArgumentError,
  NOT_FOUND: NotFoundError,
  ALREADY_EXISTS: AlreadyExistsError,
  FAILED_PRECONDITION: FailedPreconditionError,
  ABORTED: AbortedError,
  OUT_OF_RANGE: OutOfRangeError,
  RESOURCE_EXHAUSTED: ResourceExhaustedError,
  UNAVAILABLE: UnavailableError,
  UNAUTHENTICATED: UnauthenticatedError,
  PERMISSION_DENIED: PermissionDeniedError,
  INTERNAL: InternalError,
  DEADLINE_EXCEEDED: DeadlineExceededError,
  CANCELLED: CancelledError,
  UNIMPLEMENTED: UnimplementedError,
};

const codeNames: { readonly [code in Code]: CodeName } = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "ALREADY_EXISTS",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "FAILED_PRECONDITION",
  [Code.Aborted]: "ABORTED",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INTERNAL",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
};

/** The error of these parts, of the class that belongs to its code. */
export function makeError(parts: ErrorParts): SessiondError {
  return new (classes[parts.code] ?? SessiondError)(parts);
}

/** What a transport threw, as an error of this package. */
export function errorFrom(thrown: unknown, method: string): SessiondError {
  if (thrown instanceof SessiondError) return thrown;
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  const ours = info?.domain === "sessiond";
  const { category = "", ...metadata } = info?.metadata ?? {};
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return makeError({
    code: isLostConnection(error) ? "UNAVAILABLE" : codeNames[error.code],
    message: error.rawMessage,
    reasonName: ours ? info.reason : "",
    category: ours ? (category as Category) : "",
    metadata: ours ? metadata : {},
    fieldViolations: error
      .findDetails(BadRequestSchema)
      .flatMap((detail) => detail.fieldViolations.map(({ field, description }) => ({ field, description }))),
    preconditionViolations: error
      .findDetails(PreconditionFailureSchema)
      .flatMap((detail) => detail.violations.map(({ type, subject, description }) => ({ type, subject, description }))),
    retryAfterMs: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
    pushbackMs: pushbackOf(error.metadata.get("grpc-retry-pushback-ms")),
    fromDaemon: ours,
    method,
    cause: error,
  });
}

function pushbackOf(header: string | null): number | undefined {
  if (header === null) return undefined;
  return /^\d+$/.test(header.trim()) ? Number(header) : -1; // What cannot be read means no retry (gRFC A6).
}

// A transport names lost connections by what it noticed: a reset, a stream without an end, a socket that is gone. gRPC
// calls all of these UNAVAILABLE. Only what came without any metadata was made on this side.
function isLostConnection(error: ConnectError): boolean {
  let answered = false;
  error.metadata.forEach(() => (answered = true));
  if (answered) return false;
  switch (error.code) {
    case Code.Unavailable:
    case Code.Aborted: // ECONNRESET.
    case Code.Canceled: // The connection closed under the stream; the caller's own cancellation is found out before.
      return true;
    case Code.Internal:
    case Code.Unknown:
      return (
        /^protocol error: missing (status|output message)/.test(error.rawMessage) ||
        fetchFailed(error.cause) ||
        /^(E[A-Z]+|ERR_HTTP2_\w+|ERR_STREAM_\w+|ERR_SOCKET_\w+|ERR_(?:TLS|SSL)_\w+|\w*CERT\w*|UNABLE_TO_\w+)$/.test(
          causeCode(error),
        )
      );
    default:
      return false;
  }
}

/** Whether `fetch` threw it, in the words of each browser, and of Node also when an answer ends early. */
export function fetchFailed(thrown: unknown): boolean {
  return (
    thrown instanceof TypeError &&
    /failed to fetch|fetch failed|network|load failed|input stream|^terminated$/i.test(thrown.message)
  );
}

function causeCode(error: ConnectError): string {
  const code = (error.cause as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : "";
}

/** Whether the same request may succeed in a moment, so that a watch goes on by itself. */
export function passesByItself(error: SessiondError): boolean {
  if (error.category !== "") return error.category === "TEMPORARY";
  return ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"].includes(error.code);
}
