// ImportSessions: one stream after the other, until every session is answered for.
import type { MessageShape } from "@bufbuild/protobuf";
import { type Caller, nameOf } from "./call.js";
import { errorFrom, makeError, passesByItself, type SessiondError } from "./errors.js";
import {
  AdminService,
  type ImportSessionsRequest,
  ImportSessionsRequestSchema,
  type ImportSessionsResponse,
} from "./gen/sessiond/v1/admin_service_pb.js";
import { type Init, requestFrom } from "./messages.js";
import { onAbort, pause } from "./wait.js";

export type ImportRequest = Init<ImportSessionsRequest>;
export interface ImportResult extends ImportSessionsResponse {}

export interface ImportOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long to go on trying while nothing is answered; the client's `timeoutMs` unless said otherwise. */
  readonly timeoutMs?: number | undefined;
}

// Enough to keep the daemon busy; what is not answered is kept, to be sent again.
const UNDER_WAY_MAX = 256;

const method = AdminService.method.importSessions;
const name = nameOf(method);
type Request = MessageShape<typeof ImportSessionsRequestSchema>;

/**
 * Takes sessions in, and tells what became of each, in their order. What a lost connection left unanswered is sent
 * again: a session that is there already is left as it is.
 */
export async function* importSessions(
  caller: Caller,
  sessions: AsyncIterable<ImportRequest> | Iterable<ImportRequest>,
  options: ImportOptions,
): AsyncGenerator<ImportResult, void, undefined> {
  const timeoutMs = options.timeoutMs ?? caller.options.timeoutMs ?? 10_000;
  const source = toAsync(sessions);
  const unanswered: Request[] = []; // Read from the source, in the order of sending.
  let exhausted = false;
  let broken: { why: unknown } | undefined; // The source is, or an entry: told when all before it is answered.
  const backoff = caller.backoff();
  const ends = [options.signal, caller.closed];
  let troubleSince: number | undefined;
  let reading: Promise<void> | undefined; // Of the source; outlives a stream.

  const readOne = () =>
    (reading ??= source
      .next()
      .then(({ done, value }) => {
        if (done) exhausted = true;
        else unanswered.push(requestFrom(ImportSessionsRequestSchema, value));
      })
      .catch((why: unknown) => {
        exhausted = true;
        broken = { why };
      })
      .finally(() => (reading = undefined)));

  try {
    while (!(exhausted && unanswered.length === 0)) {
      const controller = new AbortController();
      const off = onAbort(ends, () => controller.abort());
      let sent = 0; // Of `unanswered`: how many of them this stream has.
      let wake: (value?: undefined) => void = () => {};
      const send = async function* (): AsyncGenerator<Request> {
        while (!controller.signal.aborted) {
          if (sent < unanswered.length) yield unanswered[sent++] as Request;
          else if (exhausted) return;
          else if (unanswered.length < UNDER_WAY_MAX) await Promise.race([readOne(), aborted(controller.signal)]);
          else await new Promise<undefined>((resolve) => (wake = resolve));
        }
      };
      let error: SessiondError;
      try {
        const answers = await caller.stream(method, send(), controller.signal);
        for (let next = await answers.next(); !next.done; next = await answers.next()) {
          troubleSince = undefined;
          backoff.reset();
          unanswered.shift();
          sent--;
          wake();
          yield next.value;
        }
        if (exhausted && unanswered.length === 0) break;
        error = makeError({ code: "UNAVAILABLE", message: "The stream was ended.", method: name });
      } catch (thrown) {
        if (ends.some((signal) => signal?.aborted)) {
          throw makeError({ code: "CANCELLED", message: "The import was cancelled.", method: name, cause: thrown });
        }
        error = errorFrom(thrown, name);
      } finally {
        off();
        controller.abort();
        wake();
      }
      troubleSince ??= performance.now();
      const pauseMs = backoff.next(error);
      if (!passesByItself(error) || performance.now() + pauseMs - troubleSince > timeoutMs) throw error;
      caller.tell({ type: "retry", method: name, error, pauseMs });
      await pause(pauseMs, ...ends);
    }
    if (broken !== undefined) throw broken.why;
  } finally {
    source.return(undefined).catch(() => {});
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => onAbort([signal], () => resolve()));
}

async function* toAsync<T>(items: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T> {
  yield* items;
}
