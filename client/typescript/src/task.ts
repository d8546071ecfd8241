// The task runner: starts a task, keeps it alive while the work runs, and records how it ended.
//
//   startTask ─▶ work ─┬─ returns ─▶ completeTask
//        ▲        │    └─ throws ──▶ failTask, with the error ─▶ pause, retryTask, while attempts are left ─▶ work
//        │        └ heartbeats: the daemon's refusal of one tells that the task was cancelled or lost
import type { JsonObject } from "@bufbuild/protobuf";
import { Backoff } from "./backoff.js";
import { type Caller, type CallOptions, newRequestId } from "./call.js";
import type { Client } from "./client.js";
import { passesByItself, SessiondError } from "./errors.js";
import type * as pb from "./gen/sessiond/v1/error_pb.js";
import { SessionError_Category, SessionError_Severity } from "./gen/sessiond/v1/error_pb.js";
import { SessionTask_Status } from "./gen/sessiond/v1/task_pb.js";
import type { Init } from "./messages.js";
import { printable } from "./printable.js";
import type { SessionTask } from "./types.js";
import { onAbort, pause } from "./wait.js";

export interface RunTaskOptions {
  readonly sessionId: string;
  /** One of the workflow's task types. */
  readonly taskType: string;
  /** The session's next stage, to be entered together with the start. */
  readonly startStage?: string | undefined;
  /** The session's next stage, to be entered together with the completion. */
  readonly endStage?: string | undefined;
  /** How long this worker may be silent before the daemon fails the task: 30,000 ms unless said otherwise. */
  readonly heartbeatTimeoutMs?: number | undefined;
  /** How often it is heard of while the work runs: a third of the timeout unless said otherwise. */
  readonly heartbeatIntervalMs?: number | undefined;
  /**
   * How often the work is run at most, with pauses that grow, as long as the daemon allows another retry: once unless
   * said otherwise.
   */
  readonly attemptsMax?: number | undefined;
  /** On whose behalf, and why: for the audit. */
  readonly actor?: string | undefined;
  readonly reason?: string | undefined;
  /** Tells the work to stop, as a shutting down worker does. What it throws then is recorded, and not retried. */
  readonly signal?: AbortSignal | undefined;
  /** What to record of a failure, instead of the default. The default is recorded if the daemon refuses this. */
  readonly describe?: ((failure: unknown, willRetry: boolean) => Init<pb.SessionError>) | undefined;
}

/** What the work is given. */
export interface RunningTask {
  readonly sessionId: string;
  readonly taskId: string;
  /** 1, 2, … */
  readonly attempt: number;
  /** Aborted when the task is not this worker's any more, with a TaskCancelledError or TaskLostError as its reason. */
  readonly signal: AbortSignal;
  /** Says how far it has come; replaces what was said before. */
  progress(progress: JsonObject): Promise<void>;
}

/** How a task went that was completed. */
export interface TaskRun {
  readonly task: SessionTask;
  readonly attempts: number;
}

/** The work did not come to a good end. */
export class TaskError extends Error {
  constructor(
    message: string,
    /** The task as it was last seen. */
    readonly task: SessionTask,
    readonly attempts: number,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }
}
/**
 * The work failed, and is not, or no more, tried again. `cause` is what it threw; the message says so if that could not
 * be recorded.
 */
export class TaskFailedError extends TaskError {
  constructor(
    message: string,
    task: SessionTask,
    attempts: number,
    cause?: unknown,
    /** Why it could not be run again, where it was to be. */
    readonly retryError?: unknown,
  ) {
    super(message, task, attempts, cause);
  }
}
/** Somebody cancelled the task, or stopped, failed or deleted its session. */
export class TaskCancelledError extends TaskError {}
/** The task is not this worker's any more: it was silent for too long, or another run replaced its own. */
export class TaskLostError extends TaskError {}

const HEARTBEAT_TIMEOUT_MS = 30_000;
// Three: one may be late, and one lost.
const HEARTBEATS_IN_A_TIMEOUT = 3;
// Between two runs; longer than between two calls, because work that failed takes what it takes.
const RETRY_PAUSE_MS = 100;
const RETRY_PAUSE_MAX_MS = 10_000;
// What the contract takes.
const MESSAGE_BYTES_MAX = 4096;
const TYPE_BYTES_MAX = 256;

export async function runTask(
  client: Client,
  caller: Caller,
  options: RunTaskOptions,
  work: (task: RunningTask) => Promise<JsonObject | void> | JsonObject | void,
): Promise<TaskRun> {
  const { sessionId, taskType, attemptsMax = 1 } = options;
  const heartbeatTimeout = options.heartbeatTimeoutMs ?? HEARTBEAT_TIMEOUT_MS;
  const audit = auditOf(options);
  const call: CallOptions = { signal: options.signal };
  const stopped = () => options.signal?.aborted === true || caller.closed.aborted;
  const backoff = new Backoff(RETRY_PAUSE_MS, RETRY_PAUSE_MAX_MS);
  let task: SessionTask = await client.startTask(
    { ...audit, sessionId, taskType, heartbeatTimeout, advanceToStage: options.startStage ?? "" },
    call,
  );
  for (let attempts = 1; ; attempts++) {
    const run = new Run(client, caller, options, task, attempts);
    let failure: unknown;
    try {
      const result = await run.during(() => work(run));
      run.throwIfKnownGone();
      const { endStage: advanceToStage = "" } = options;
      const ended = { ...audit, sessionId, taskId: task.taskId, advanceToStage };
      task = await client.completeTask(result === undefined ? ended : { ...ended, result: result as JsonObject });
      return { task, attempts };
    } catch (thrown) {
      failure = thrown;
    }
    // A completion that may have taken effect, or may be taken in a moment, is nobody's failure.
    if (run.completing && failure instanceof SessiondError && passesByItself(failure)) throw failure;
    // Whatever else the work, or its completion, ended with: first of all, is it still this worker's?
    await run.throwIfGone();
    // The daemon would wait for a completion that was refused for good until its heartbeat timeout, so the task fails.
    // But the work is done.
    const willRetry = !run.completing && !stopped() && attempts < attemptsMax && task.retryCount + 1 < task.maxRetries;
    let unrecorded = "";
    try {
      task = await run.fail(failure, willRetry);
    } catch (refusal) {
      await run.throwIfGone(refusal);
      unrecorded = ` (and that could not be recorded: ${messageOf(refusal)})`;
    }
    if (unrecorded !== "" || !willRetry || !task.retryable) {
      if (failure instanceof SessiondError && run.completing) throw failure; // The daemon refused the completion.
      throw new TaskFailedError(`The task failed: ${messageOf(failure)}${unrecorded}`, task, attempts, failure);
    }
    await pause(backoff.next(), options.signal, caller.closed);
    if (stopped()) throw new TaskFailedError(`The task failed: ${messageOf(failure)}`, task, attempts, failure);
    // An id of our own, so that a run of which nothing is known can be failed.
    const taskId = newRequestId();
    try {
      task = await client.retryTask({ ...audit, sessionId, taskId }, call);
    } catch (refusal) {
      const again = new Run(client, caller, options, { ...task, taskId }, attempts);
      const seen = (await again.failUnlessRefused(refusal)) ?? task;
      const why = `${messageOf(failure)} (and it could not be run again: ${messageOf(refusal)})`;
      throw new TaskFailedError(`The task failed: ${why}`, seen, attempts, failure, refusal);
    }
  }
}

// One attempt: what the work sees of it, and the heartbeats beside it.
class Run implements RunningTask {
  readonly #gone = new AbortController();
  readonly #client: Client;
  readonly #caller: Caller;
  readonly #options: RunTaskOptions;
  #heard = performance.now();
  #task: SessionTask;
  /** The work is done, and its completion under way. */
  completing = false;

  constructor(
    client: Client,
    caller: Caller,
    options: RunTaskOptions,
    task: SessionTask,
    readonly attempt: number,
  ) {
    this.#client = client;
    this.#caller = caller;
    this.#options = options;
    this.#task = task;
  }
  get sessionId(): string {
    return this.#task.sessionId;
  }
  get taskId(): string {
    return this.#task.taskId;
  }
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  async progress(progress: JsonObject): Promise<void> {
    try {
      this.#task = await this.#client.reportTaskProgress({ sessionId: this.sessionId, taskId: this.taskId, progress });
      this.#heard = performance.now();
    } catch (refusal) {
      await this.throwIfGone(refusal);
      throw refusal;
    }
  }

  // Does the work with heartbeats beside it.
  async during<T>(work: () => Promise<T> | T): Promise<T> {
    const ended = new AbortController();
    const off = onAbort([this.#options.signal, this.#caller.closed], (why) => this.#gone.abort(why));
    const beating = this.#beat(ended.signal);
    try {
      const result = await work();
      this.completing = true;
      return result;
    } finally {
      ended.abort();
      off();
      await beating;
    }
  }

  async #beat(ended: AbortSignal): Promise<void> {
    const timeoutMs = this.#options.heartbeatTimeoutMs ?? HEARTBEAT_TIMEOUT_MS;
    const intervalMs = this.#options.heartbeatIntervalMs ?? timeoutMs / HEARTBEATS_IN_A_TIMEOUT;
    const ids = { sessionId: this.sessionId, taskId: this.taskId };
    while (!this.signal.aborted) {
      const waitMs = this.#heard + intervalMs - performance.now();
      if (waitMs > 0) {
        await pause(waitMs, ended, this.signal);
        if (ended.aborted) return;
        continue; // Progress may have been reported meanwhile.
      }
      if (ended.aborted) return;
      this.#heard = performance.now();
      try {
        // Whoever does not answer within an interval is asked anew. The end of the work does not wait for an answer.
        this.#task = await this.#client.reportTaskProgress(ids, {
          timeoutMs: Math.max(intervalMs, 1000),
          signal: ended,
        });
      } catch (refusal) {
        if (ended.aborted) return;
        await this.throwIfGone(refusal).catch((gone: unknown) => this.#gone.abort(gone));
        if (!this.signal.aborted) {
          this.#caller.tell({ type: "heartbeat_failed", sessionId: this.sessionId, error: refusal as SessiondError });
        }
      }
    }
  }

  /** Fails the task, with what `describe` says; with the defaults where the daemon does not take that. */
  async fail(failure: unknown, willRetry: boolean): Promise<SessionTask> {
    const { describe } = this.#options;
    if (describe !== undefined) {
      try {
        return await this.#failAs(failure, describe(failure, willRetry));
      } catch (refusal) {
        if (refusal instanceof SessiondError && passesByItself(refusal)) throw refusal;
        await this.throwIfGone(refusal);
      }
    }
    return this.#failAs(failure, byDefault(this.#options.taskType, failure, willRetry));
  }

  /** Fails a run whose start may have taken effect, though nobody has said so: the daemon would wait for its worker. */
  async failUnlessRefused(refusal: unknown): Promise<SessionTask | undefined> {
    if (!(refusal instanceof SessiondError && passesByItself(refusal))) return undefined;
    const error = {
      ...byDefault(this.#options.taskType, refusal, false),
      category: SessionError_Category.TEMPORARY,
      userMessage: `${this.#options.taskType} was not run again.`,
    };
    // It is refused where the start had no effect.
    return this.#failAs(refusal, error).catch(() => undefined);
  }

  #failAs(failure: unknown, error: Init<pb.SessionError>): Promise<SessionTask> {
    return this.#client.failTask({
      ...auditOf(this.#options),
      sessionId: this.sessionId,
      taskId: this.taskId,
      failureContext: { message: messageOf(failure), type: typeOf(failure) },
      error: { ...error, userMessage: printable(error.userMessage ?? "", MESSAGE_BYTES_MAX) },
    });
  }

  /** Throws what a heartbeat, or a report of progress, has found out: that the task is not this worker's any more. */
  throwIfKnownGone(): void {
    if (this.signal.reason instanceof TaskError) throw this.signal.reason;
  }

  /** Throws TaskCancelledError or TaskLostError if the task is not this worker's any more. */
  async throwIfGone(refusal?: unknown): Promise<void> {
    this.throwIfKnownGone();
    // What no daemon decided says nothing about the task.
    if (refusal !== undefined && !(refusal instanceof SessiondError && refusal.fromDaemon)) return;
    if (this.#caller.closed.aborted) return;
    let now: SessionTask;
    try {
      now = await this.#client.getTask({ sessionId: this.sessionId, includeDeleted: true });
    } catch (error) {
      if (!(error instanceof SessiondError && error.code === "NOT_FOUND")) return;
      throw new TaskLostError("The session is gone.", this.#task, this.attempt, error);
    }
    if (now.taskId !== this.taskId) {
      throw new TaskLostError(`Another run, ${now.taskId}, has replaced this one.`, now, this.attempt, refusal);
    }
    switch (now.status) {
      case SessionTask_Status.CANCELLED:
        throw new TaskCancelledError("The task was cancelled.", now, this.attempt, refusal);
      case SessionTask_Status.RUNNING:
        return;
      default:
        throw new TaskLostError(`The task is ${SessionTask_Status[now.status]} already.`, now, this.attempt, refusal);
    }
  }
}

function auditOf({ actor, reason }: RunTaskOptions): { actor?: string; reason?: string } {
  return { ...(actor !== undefined && { actor }), ...(reason !== undefined && { reason }) };
}

function byDefault(taskType: string, failure: unknown, willRetry: boolean): Init<pb.SessionError> {
  return {
    category: willRetry ? SessionError_Category.TEMPORARY : SessionError_Category.ADMIN_REQUIRED,
    severity: SessionError_Severity.WARNING,
    userMessage: willRetry ? `${taskType} failed and is tried again.` : `${taskType} failed.`,
    errorCode: typeOf(failure),
    technicalDetails: { message: messageOf(failure) },
  };
}

// What failed.
function messageOf(failure: unknown): string {
  const message = String(failure instanceof Error ? failure.message : failure);
  return printable(message, MESSAGE_BYTES_MAX) || "no message";
}

// What kind of thing it is, for programs: a name, and so on one line.
function typeOf(failure: unknown): string {
  if (failure instanceof SessiondError && failure.reasonName !== "") return failure.reasonName;
  const type = String(failure instanceof Error ? failure.name : typeof failure);
  return printable(type.replace(/\s/g, " "), TYPE_BYTES_MAX);
}
