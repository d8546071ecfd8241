// A watch: one stream after the other, each resumed where the one before broke off.
//
//   stream ──▶ #note ──▶ the caller, or back when it is a heartbeat
//      │ ends, or falls silent
//      └─────▶ pause ──▶ the next stream, with the token of the last response
import { clone } from "@bufbuild/protobuf";
import { type Caller, nameOf } from "./call.js";
import { CancelledError, errorFrom, makeError, passesByItself, type SessiondError } from "./errors.js";
import {
  SessionService,
  type WatchSessionsRequest,
  WatchSessionsRequestSchema,
  type WatchSessionsResponse,
  WatchSessionsResponseSchema,
} from "./gen/sessiond/v1/session_service_pb.js";
import { type Init, type Result, requestFrom, resultFrom } from "./messages.js";
import { milliseconds } from "./time.js";
import type { Session, SessionEvent, SessionMessage } from "./types.js";
import { onAbort, pause } from "./wait.js";

/** What a watch tells. */
export type WatchItem =
  /** A session as it stands, of the initial state. */
  | { readonly type: "session"; readonly session: Session; readonly resumeToken: string }
  /** The initial state is complete; from here on, every change. Told once in the life of a watch. */
  | { readonly type: "bookmark"; readonly resumeToken: string }
  /** A change. */
  | {
      readonly type: "change";
      readonly event: SessionEvent;
      /** The session as the event left it, or as it stood a little later; not set when it is gone. */
      readonly session?: Session | undefined;
      /** What was appended, of MESSAGES_APPENDED, as far as it fits; listMessages has the rest. */
      readonly messages: readonly SessionMessage[];
      /** Whether the session matches the filter now. */
      readonly matches: boolean;
      readonly resumeToken: string;
    }
  /** The initial state was not complete and is told again from its start: forget what was told of it. */
  | { readonly type: "restart" };

/** Where a watch keeps its place, so that a program that is started again misses nothing. */
export interface TokenStore {
  load(): string | undefined | null | Promise<string | undefined | null>;
  save(token: string): void | Promise<void>;
}

export interface WatchOptions {
  /** Ends the watch, without an error. */
  readonly signal?: AbortSignal | undefined;
  /** Where its place is kept: read once in the beginning, written behind every item and heartbeat. */
  readonly tokens?: TokenStore | undefined;
  /**
   * After how long without a response the connection is taken for dead and the stream resumed on another one. Three
   * heartbeat intervals unless said otherwise, and at least 40 s before a stream's bookmark, because the daemon may
   * read for 30 s before it sends anything.
   */
  readonly silenceMs?: number | undefined;
}

// The daemon's default when the request does not set it.
const HEARTBEAT_MS = 15_000;
// Three: one may be late, and one lost with a connection that recovers.
const HEARTBEATS_MISSED = 3;
const SILENCE_AT_FIRST_MS = 40_000;

const method = SessionService.method.watchSessions;
const name = nameOf(method);

/**
 * The sessions that match, if asked for (`initialState`), then a bookmark, and then every change once and in order,
 * however often the stream breaks off. A step waits until there is something to tell: for ever, if need be. Heartbeats
 * are kept back.
 *
 * The iteration ends when `signal` is aborted or `close` is called; with an error when retrying cannot help:
 * InvalidArgumentError (INVALID_FILTER, INVALID_RESUME_TOKEN, …), OutOfRangeError (RESUME_TOKEN_EXPIRED: watch anew,
 * with `initialState` and without a token), and the like. It can be iterated over once.
 */
export class Watch implements AsyncIterable<WatchItem> {
  readonly #closing = new AbortController();
  #token: string;
  #begun = false;

  constructor(
    private readonly caller: Caller,
    private readonly request: WatchSessionsRequest,
    private readonly options: WatchOptions,
  ) {
    this.#token = request.resumeToken;
  }

  /**
   * The place of the watch: another one with this `resumeToken` misses nothing. An item is covered by it when the next
   * one is asked for, so it may be stored at any time. A token from before the bookmark starts the initial state again.
   */
  get resumeToken(): string {
    return this.#token;
  }

  /** Ends the iteration at once. */
  close(): void {
    this.#closing.abort();
  }

  [Symbol.asyncIterator](): AsyncGenerator<WatchItem, void, undefined> {
    if (this.#begun) throw new TypeError("A watch is iterated over once; open another one, with its resumeToken.");
    this.#begun = true;
    return this.#items();
  }

  async *#items(): AsyncGenerator<WatchItem, void, undefined> {
    const ends = [this.options.signal, this.#closing.signal, this.caller.closed];
    const ended = () => ends.some((signal) => signal?.aborted);
    const request = clone(WatchSessionsRequestSchema, this.request);
    if (this.options.tokens !== undefined && request.resumeToken === "") {
      request.resumeToken = (await this.options.tokens.load()) ?? "";
      this.#token = request.resumeToken;
      // The token says whether the initial state was complete. Asking for both is refused.
      if (request.resumeToken !== "") request.initialState = false;
    }
    const backoff = this.caller.backoff();
    let told = false; // Something was given to the caller.
    let toldBookmark = false;
    let resuming = false; // There was an error, and no response since.

    while (!ended()) {
      const stream = new Stream(this.caller, request);
      const off = onAbort(ends, () => stream.cancel());
      let bookmarked = false;
      let error: SessiondError;
      try {
        for (;;) {
          const response = await stream.take(this.#silenceMs(bookmarked));
          backoff.reset();
          request.initialState = false;
          request.resumeToken = response.resumeToken;
          if (resuming) {
            resuming = false;
            this.caller.tell({ type: "resumed", method: name });
            if (told && !toldBookmark) yield { type: "restart" };
          }
          const { resumeToken, kind } = response;
          if (kind.case === "session") {
            told = true;
            yield { type: "session", session: kind.value, resumeToken };
          } else if (kind.case === "change") {
            told = true;
            const { event, session, messages } = kind.value;
            if (event !== undefined) {
              yield { type: "change", event, session, messages, matches: response.matches, resumeToken };
            }
          } else if (kind.case === "bookmark") {
            bookmarked = true;
            if (!toldBookmark) {
              toldBookmark = true;
              yield { type: "bookmark", resumeToken };
            }
          }
          await this.#moveOn(resumeToken); // The caller has asked for the next one, and so is done with this.
        }
      } catch (thrown) {
        if (ended()) return;
        if (!(thrown instanceof StreamEnded)) throw thrown; // The caller's own.
        error = thrown.error;
      } finally {
        off();
        stream.cancel();
      }
      if (!passesByItself(error)) throw error;
      resuming = true;
      const pauseMs = backoff.next(error);
      this.caller.tell({ type: "retry", method: name, error, pauseMs });
      await pause(pauseMs, ...ends);
    }
  }

  async #moveOn(token: string): Promise<void> {
    this.#token = token;
    try {
      await this.options.tokens?.save(token);
    } catch (error) {
      this.caller.tell({ type: "token_not_saved", error });
    }
  }

  #silenceMs(bookmarked: boolean): number {
    if (this.options.silenceMs !== undefined) return this.options.silenceMs;
    const { heartbeatInterval } = this.request;
    const ms = HEARTBEATS_MISSED * (heartbeatInterval === undefined ? HEARTBEAT_MS : milliseconds(heartbeatInterval));
    return bookmarked ? ms : Math.max(ms, SILENCE_AT_FIRST_MS);
  }
}

// How a stream ended; wrapped, to be told from what a caller's own code throws into the iteration.
class StreamEnded extends Error {
  constructor(readonly error: SessiondError) {
    super(error.message);
  }
}

// One stream, from its request to its end. One response is read ahead: a slow caller slows the daemon's sending down,
// and what has arrived when a connection breaks is not lost.
class Stream {
  readonly #controller = new AbortController();
  readonly #responses: Promise<AsyncIterator<WatchSessionsResponse>>;
  readonly #caller: Caller;
  #next: Promise<IteratorResult<WatchSessionsResponse>>;

  constructor(caller: Caller, request: WatchSessionsRequest) {
    this.#caller = caller;
    this.#responses = caller.stream(method, only(clone(WatchSessionsRequestSchema, request)), this.#controller.signal);
    this.#next = this.#read();
  }

  cancel(): void {
    this.#controller.abort();
  }

  // The next response. Throws StreamEnded.
  async take(silenceMs: number): Promise<Result<WatchSessionsResponse>> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let off = () => {};
    const early = new Promise<never>((_, reject) => {
      const cancelled = new CancelledError({ code: "CANCELLED", message: "The watch was ended.", method: name });
      off = onAbort([this.#controller.signal], () => reject(cancelled));
      timer = setTimeout(
        () => {
          this.#caller.transport.renew?.();
          reject(makeError({ code: "UNAVAILABLE", message: `Nothing was heard for ${silenceMs} ms.`, method: name }));
        },
        Math.min(silenceMs, 0x7fffffff),
      );
    });
    try {
      const { done, value } = await Promise.race([this.#next, early]);
      if (done) throw makeError({ code: "UNAVAILABLE", message: "The stream was ended.", method: name });
      this.#next = this.#read();
      return resultFrom(WatchSessionsResponseSchema, value);
    } catch (thrown) {
      throw new StreamEnded(errorFrom(thrown, name));
    } finally {
      clearTimeout(timer);
      off();
    }
  }

  #read(): Promise<IteratorResult<WatchSessionsResponse>> {
    const next = this.#responses.then((responses) => responses.next());
    next.catch(() => {}); // Told when it is taken, if it ever is.
    return next;
  }
}

async function* only<T>(item: T): AsyncGenerator<T> {
  yield item;
}

export function watch(caller: Caller, request: Init<WatchSessionsRequest>, options: WatchOptions): Watch {
  return new Watch(caller, requestFrom(WatchSessionsRequestSchema, request), options);
}
