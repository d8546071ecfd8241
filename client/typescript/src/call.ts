// What all calls have in common: a deadline, a request_id, safe retries, credentials, readable refusals.
import {
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { Backoff } from "./backoff.js";
import { errorFrom, fetchFailed, makeError, SessiondError } from "./errors.js";
import { checkToken } from "./token.js";
import { version } from "./version.js";
import { onAbort, pause } from "./wait.js";

/** How one call is made. */
export interface CallOptions {
  /** How long it may take in all, its retries included. */
  readonly timeoutMs?: number | undefined;
  /** Ends it early, with a CancelledError. */
  readonly signal?: AbortSignal | undefined;
  /** More metadata to send. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** What happens, told to `onEvent`: for logs, counters and spans. Requests and answers are not in it. */
export type ClientEvent =
  | {
      readonly type: "call";
      readonly method: string;
      readonly requestId: string;
      readonly sessionId: string;
      readonly attempts: number;
      readonly durationMs: number;
      /** Not set when it went well. */
      readonly error?: SessiondError;
    }
  /** A call, or the stream of a watch, is going to be tried again. */
  | { readonly type: "retry"; readonly method: string; readonly error: SessiondError; readonly pauseMs: number }
  /** The stream of a watch goes on where it broke off. */
  | { readonly type: "resumed"; readonly method: string }
  /** A sign of life of a running task did not arrive; the next one may. */
  | { readonly type: "heartbeat_failed"; readonly sessionId: string; readonly error: SessiondError }
  /** The place of a watch could not be saved; the next one may be. */
  | { readonly type: "token_not_saved"; readonly error: unknown }
  /** The callback `traceparent` threw, or returned what no header takes; the call goes on without. */
  | { readonly type: "traceparent_not_sent"; readonly method: string; readonly error: unknown };

export interface CallerOptions {
  /** The deadline of calls that name none of their own: 10,000 ms unless said otherwise. */
  readonly timeoutMs?: number | undefined;
  /** The first pause before a retry (50 ms); each further one is twice as long, up to `backoffMaxMs` (2,000 ms). */
  readonly backoffInitialMs?: number | undefined;
  readonly backoffMaxMs?: number | undefined;
  /**
   * Sent as `authorization: Bearer …`. A callback is asked before every attempt, so that tokens can rotate. What it
   * throws ends the call, or the watch, with an UnauthenticatedError; but a `fetch` that failed, or that
   * AbortSignal.timeout ended, is tried again, and a SessiondError is taken as it is.
   */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /**
   * The W3C trace context of the present call, sent as `traceparent`. A callback is asked once for each call, and for
   * each stream of a watch. When it throws, or returns what no header takes, the call goes on without, and `onEvent` is
   * told (`traceparent_not_sent`).
   */
  readonly traceparent?: string | (() => string | undefined) | undefined;
  /** More metadata, sent with every call. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Told what happens. What it throws is ignored. */
  readonly onEvent?: ((event: ClientEvent) => void) | undefined;
}

/** A transport that can leave a connection that has fallen silent. */
export interface RenewableTransport extends Transport {
  /** Sends what comes from now on through another connection than this transport's present one. */
  renew?(): void;
}

const TIMEOUT_MS = 10_000;
const BACKOFF_INITIAL_MS = 50;
const BACKOFF_MAX_MS = 2_000;

export class Caller {
  readonly #closing: AbortController;

  // `closing` is another Caller's, when both are to end together.
  constructor(
    readonly transport: RenewableTransport,
    readonly options: CallerOptions,
    closing = new AbortController(),
  ) {
    this.#closing = closing;
    if (typeof options.token === "string") checkToken(options.token, "token");
    if (typeof options.traceparent === "string") checkTraceparent(options.traceparent, "traceparent");
  }

  /** The same with other options; the end of one is the other's. */
  with(options: CallerOptions): Caller {
    return new Caller(this.transport, { ...this.options, ...options }, this.#closing);
  }

  /** Aborted when the client is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }
  close(): void {
    this.#closing.abort();
  }
  backoff(): Backoff {
    return new Backoff(
      this.options.backoffInitialMs ?? BACKOFF_INITIAL_MS,
      this.options.backoffMaxMs ?? BACKOFF_MAX_MS,
    );
  }
  tell(event: ClientEvent): void {
    try {
      this.options.onEvent?.(event);
    } catch {
      // A hook that fails is no reason for the call to.
    }
  }

  /**
   * Makes a call, and repeats it as long as the answer is UNAVAILABLE and the deadline allows. A change without a
   * request_id gets one, the same for all its attempts, so that it takes effect once.
   */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const fields = request as { requestId?: string; sessionId?: string; session?: { sessionId?: string } };
    if (fields.requestId === "") fields.requestId = newRequestId();
    const name = nameOf(method);
    const timeoutMs = options.timeoutMs ?? this.options.timeoutMs ?? TIMEOUT_MS;
    const begun = performance.now();
    const left = () => timeoutMs - (performance.now() - begun);
    const backoff = this.backoff();
    const traceparent = this.#traceparent(name);
    let attempts = 0;
    const done = (error?: SessiondError) =>
      this.tell({
        type: "call",
        method: name,
        requestId: fields.requestId ?? "",
        sessionId: fields.sessionId ?? fields.session?.sessionId ?? "",
        attempts,
        durationMs: performance.now() - begun,
        ...(error && { error }),
      });
    for (;;) {
      attempts++;
      const attempt = this.#attempt(options.signal);
      let error: SessiondError;
      try {
        const headers = await this.headers(name, traceparent, options.headers);
        // A whole number, and never more than what was asked for.
        const ms = Math.max(1, Math.floor(left()));
        const answer = await this.transport.unary(method, attempt.signal, ms, headers, request as never);
        done();
        return answer.message;
      } catch (thrown) {
        error = this.#cancelled(name, options.signal) ?? unlessUnsent(method, request, errorFrom(thrown, name));
      } finally {
        attempt.end();
      }
      const pauseMs = backoff.next(error);
      const again = error.code === "UNAVAILABLE" && (error.pushbackMs ?? 0) >= 0 && pauseMs < left();
      if (again) {
        this.tell({ type: "retry", method: name, error, pauseMs });
        await pause(pauseMs, options.signal, this.closed);
        const cancelled = this.#cancelled(name, options.signal);
        if (cancelled === undefined) continue;
        error = cancelled;
      }
      done(error);
      throw error;
    }
  }

  /** Opens a stream, once. What it throws, and what reading it throws, is for `errorFrom`. */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    requests: AsyncIterable<MessageShape<I>>,
    signal: AbortSignal,
    headers?: Readonly<Record<string, string>>,
  ): Promise<AsyncIterator<MessageShape<O>>> {
    const name = nameOf(method);
    const sent = await this.headers(name, this.#traceparent(name), headers);
    // 0: no deadline, whatever the transport's default is.
    const answer = await this.transport.stream(method, signal, 0, sent, requests as never);
    return answer.message[Symbol.asyncIterator]();
  }

  async headers(
    method: string,
    traceparent: string | undefined,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Headers> {
    const headers = new Headers({ ...this.options.headers, ...more });
    const agent = agentHeader();
    if (!headers.has(agent)) headers.set(agent, `sessiond-typescript/${version}`);
    if (traceparent !== undefined && !headers.has("traceparent")) headers.set("traceparent", traceparent);
    const token = await this.#token(method);
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    return headers;
  }

  // What a callback throws is not the transport's: an ENOENT of its own is no lost connection.
  async #token(method: string): Promise<string | undefined> {
    const { token } = this.options;
    if (typeof token !== "function") return token;
    try {
      const answer = await token();
      checkToken(answer, "What `token` returned");
      return answer;
    } catch (cause) {
      if (cause instanceof SessiondError) throw cause;
      throw makeError({
        code: fetchFailed(cause) || isTimeout(cause) ? "UNAVAILABLE" : "UNAUTHENTICATED",
        message: `There is no token: ${cause instanceof Error ? cause.message : String(cause)}`,
        method,
        cause,
      });
    }
  }

  // A callback that fails is no reason for the call to: it may be the one that ends a task.
  #traceparent(method: string): string | undefined {
    const { traceparent } = this.options;
    if (typeof traceparent !== "function") return traceparent || undefined;
    try {
      const answer = traceparent() || undefined;
      if (answer !== undefined) checkTraceparent(answer, "What `traceparent` returned");
      return answer;
    } catch (error) {
      this.tell({ type: "traceparent_not_sent", method, error });
      return undefined;
    }
  }

  // A signal for one attempt that follows the caller's and the client's, and lets go of both behind it.
  #attempt(signal: AbortSignal | undefined): { signal: AbortSignal; end: () => void } {
    const controller = new AbortController();
    const end = onAbort([signal, this.closed], () => controller.abort());
    return { signal: controller.signal, end };
  }

  #cancelled(method: string, signal: AbortSignal | undefined): SessiondError | undefined {
    if (signal?.aborted) {
      return makeError({
        code: "CANCELLED",
        message: "The call was cancelled by its caller.",
        method,
        cause: signal.reason,
      });
    }
    if (this.closed.aborted) return makeError({ code: "CANCELLED", message: "The client is closed.", method });
    return undefined;
  }
}

// The error; but INVALID_ARGUMENT where the request could not be written, such as one that contains itself. Transports
// call that INTERNAL, which passes by itself.
function unlessUnsent<I extends DescMessage>(
  method: DescMethodUnary<I, DescMessage>,
  request: MessageShape<I>,
  error: SessiondError,
): SessiondError {
  if (error.code !== "INTERNAL" || error.fromDaemon) return error;
  for (const write of [toBinary<I>, toJson<I>]) {
    try {
      write(method.input, request);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      if (!error.message.endsWith(why)) continue; // Another format's.
      const message = `The request cannot be sent: ${why}`;
      return makeError({ code: "INVALID_ARGUMENT", message, method: error.method, cause });
    }
  }
  return error;
}

// Throws a TypeError unless a header takes it. What it says is for those who read it.
function checkTraceparent(text: unknown, what: string): void {
  if (typeof text === "string" && /^[\x21-\x7e]*$/.test(text)) return;
  throw new TypeError(`${what} is no traceparent: that is one word of visible ASCII.`);
}

// Whether AbortSignal.timeout has ended it.
function isTimeout(thrown: unknown): boolean {
  return (thrown as { name?: unknown } | null | undefined)?.name === "TimeoutError";
}

// Browsers keep a user agent of their own, and some ask the daemon first whether a page may set another one (CORS).
function agentHeader(): "user-agent" | "x-user-agent" {
  return "document" in globalThis || "WorkerGlobalScope" in globalThis ? "x-user-agent" : "user-agent";
}

export function nameOf(method: { readonly name: string; readonly parent: { readonly typeName: string } }): string {
  return `${method.parent.typeName}/${method.name}`;
}

/** A random UUID (version 4). */
export function newRequestId(): string {
  // Browsers have randomUUID on encrypted pages only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
