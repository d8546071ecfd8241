// The adapter of the conformance suite (docs/conformance.md): JSON lines in, calls of this package, JSON lines out.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import {
  create,
  type DescMessage,
  type DescMethod,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import { FieldMaskSchema } from "@bufbuild/protobuf/wkt";
import * as sessiond from "../src/index.js";

type Fields = Record<string, unknown>;
interface Request {
  readonly id: number;
  readonly op: string;
  readonly client?: string;
  readonly args?: Fields;
  readonly options?: { readonly timeout_s?: number; readonly take?: number; readonly silence_s?: number };
}

class Unsupported extends Error {}

const clients = new Map<string, sessiond.Client>();
const watches = new Map<string, OpenWatch>();

const methods = new Map<string, DescMethod>();
for (const service of [
  sessiond.SessionService,
  sessiond.TaskService,
  sessiond.ErrorService,
  sessiond.MessageService,
  sessiond.ArtifactService,
  sessiond.WorkflowService,
  sessiond.AdminService,
]) {
  for (const method of service.methods) methods.set(snake(method.name), method);
}

const errorClasses: readonly (readonly [string, abstract new (...args: never[]) => sessiond.SessiondError])[] = [
  ["InvalidArgument", sessiond.InvalidArgumentError],
  ["NotFound", sessiond.NotFoundError],
  ["AlreadyExists", sessiond.AlreadyExistsError],
  ["FailedPrecondition", sessiond.FailedPreconditionError],
  ["Aborted", sessiond.AbortedError],
  ["OutOfRange", sessiond.OutOfRangeError],
  ["ResourceExhausted", sessiond.ResourceExhaustedError],
  ["Unavailable", sessiond.UnavailableError],
  ["Unauthenticated", sessiond.UnauthenticatedError],
  ["PermissionDenied", sessiond.PermissionDeniedError],
  ["Internal", sessiond.InternalError],
  ["DeadlineExceeded", sessiond.DeadlineExceededError],
  ["Cancelled", sessiond.CancelledError],
  ["Unimplemented", sessiond.UnimplementedError],
  ["Unknown", sessiond.SessiondError],
];

function snake(name: string): string {
  return name.replace(/(?<!^)([A-Z])/g, "_$1").toLowerCase();
}

function ms(seconds: unknown): number | undefined {
  return typeof seconds === "number" ? seconds * 1000 : undefined;
}

// The message of a request's JSON. A mask is a list of paths here, which Protobuf's JSON would bend.
function parse<D extends DescMessage>(desc: D, fields: Fields): Message {
  const { update_mask: mask, ...rest } = fields;
  const message = fromJson(desc, rest as JsonObject) as Message & { updateMask?: unknown };
  if (mask !== undefined) message.updateMask = create(FieldMaskSchema, { paths: mask as string[] });
  return message;
}

function shown(desc: DescMessage, message: unknown): JsonValue {
  return toJson(desc, message as Message, { useProtoFieldName: true });
}

function connect({ args = {}, client = "main" }: Request): Fields {
  const environment = (args["environment"] ?? {}) as Record<string, string>;
  const pem = (name: string) => (args[name] === undefined ? undefined : readFileSync(args[name] as string));
  let asked = 0;
  const before = { ...process.env };
  Object.assign(process.env, environment);
  try {
    const options: sessiond.ConnectOptions = {
      server: args["address"] as string | undefined,
      timeoutMs: ms(args["timeout_s"]),
      token: args["token_callback"] === true ? () => `token-${++asked}` : (args["token"] as string | undefined),
      traceparent: args["traceparent"] === undefined ? undefined : () => args["traceparent"] as string,
      tls:
        args["ca_file"] === undefined
          ? undefined
          : { ca: pem("ca_file"), cert: pem("cert_file"), key: pem("key_file"), serverName: "localhost" },
    };
    clients.set(client, sessiond.connect(options));
  } finally {
    for (const name of Object.keys(environment)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
  return {};
}

async function call(
  client: sessiond.Client,
  method: DescMethod,
  { args = {}, options = {} }: Request,
): Promise<unknown> {
  const request = parse(method.input, args);
  const how = { timeoutMs: ms(options.timeout_s) };
  const made = (client as unknown as Record<string, (request: unknown, how: unknown) => unknown>)[method.localName]?.(
    request,
    how,
  );
  if (made instanceof sessiond.Pages) {
    const item = method.output.fields.find((field) => field.fieldKind === "list")?.message as DescMessage;
    return { items: (await made.toArray(options.take)).map((one) => shown(item, one)) };
  }
  const answer = await made;
  if (method.name === "ListRecoverableSessions") {
    const { sessions } = answer as sessiond.ListRecoverableSessionsResponse;
    return { items: sessions.slice(0, options.take).map((one) => shown(sessiond.SessionSchema, one)) };
  }
  return shown(method.output, answer);
}

// A watch, and the step that is under way: what comes after `watch_next` has timed out is answered by the next one.
class OpenWatch {
  readonly watch: sessiond.Watch;
  readonly #items: AsyncIterator<sessiond.WatchItem>;
  #step: Promise<IteratorResult<sessiond.WatchItem>> | undefined;
  token: string;

  constructor(client: sessiond.Client, request: sessiond.WatchSessionsRequest, silenceMs: number | undefined) {
    this.watch = client.watch(request, { silenceMs });
    this.#items = this.watch[Symbol.asyncIterator]();
    this.token = request.resumeToken;
  }

  async next(timeoutMs: number): Promise<Fields> {
    this.#step ??= this.#items.next();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), timeoutMs)));
    const step = await Promise.race([this.#step, timeout]).finally(() => clearTimeout(timer));
    if (step === undefined) return { kind: "timeout" };
    this.#step = undefined;
    if (step.done) return { kind: "end" };
    const item = step.value;
    if (item.type === "restart") return { kind: "restart" };
    this.token = item.resumeToken;
    if (item.type === "bookmark") return { kind: "bookmark" };
    if (item.type === "session") return { kind: "session", session: shown(sessiond.SessionSchema, item.session) };
    return {
      kind: "change",
      event: shown(sessiond.SessionEventSchema, item.event),
      ...(item.session && { session: shown(sessiond.SessionSchema, item.session) }),
      messages: item.messages.map((one) => shown(sessiond.SessionMessageSchema, one)),
      matches: item.matches,
    };
  }
}

async function watch(client: sessiond.Client, { op, args = {}, options = {} }: Request): Promise<unknown> {
  const name = args["watch"] as string;
  if (op === "watch_open") {
    const request = parse(sessiond.WatchSessionsRequestSchema, args["request"] as Fields);
    watches.set(name, new OpenWatch(client, request as sessiond.WatchSessionsRequest, ms(options.silence_s)));
    return {};
  }
  const open = watches.get(name);
  if (open === undefined) throw new Unsupported(`there is no watch ${name}`);
  if (op === "watch_next") return open.next(ms(args["timeout_s"]) ?? 10_000);
  if (op === "watch_token") return { token: open.token };
  open.watch.close();
  return {};
}

async function runTask(client: sessiond.Client, { args = {} }: Request): Promise<unknown> {
  const script = args["work"] as Fields[];
  const end = (outcome: string, task: sessiond.SessionTask, attempts: number, message = "") => ({
    outcome,
    task: shown(sessiond.SessionTaskSchema, task),
    attempts,
    message,
  });
  try {
    const run = await client.runTask(
      {
        sessionId: args["session_id"] as string,
        taskType: args["task_type"] as string,
        heartbeatTimeoutMs: ms(args["heartbeat_timeout_s"]),
        heartbeatIntervalMs: ms(args["heartbeat_interval_s"]),
        startStage: args["start_stage"] as string | undefined,
        endStage: args["end_stage"] as string | undefined,
        attemptsMax: args["attempts_max"] as number | undefined,
      },
      async (task) => {
        const work = script[Math.min(task.attempt, script.length) - 1] ?? {};
        for (const progress of (work["progress"] ?? []) as JsonObject[]) await task.progress(progress);
        if (work["sleep_s"] !== undefined) await sleep(ms(work["sleep_s"]) ?? 0, task.signal);
        if (work["until_cancelled_s"] !== undefined) {
          await sleep(ms(work["until_cancelled_s"]) ?? 0, task.signal);
          throw new Error("not cancelled");
        }
        if (work["fail"] !== undefined) throw new Error(work["fail"] as string);
        return work["succeed"] as JsonObject;
      },
    );
    return end("completed", run.task, run.attempts);
  } catch (error) {
    if (error instanceof sessiond.TaskFailedError) {
      return end("failed", error.task, error.attempts, (error.cause as Error).message);
    }
    if (error instanceof sessiond.TaskCancelledError)
      return end("cancelled", error.task, error.attempts, error.message);
    if (error instanceof sessiond.TaskLostError) return end("lost", error.task, error.attempts, error.message);
    throw error;
  }
}

function sleep(timeMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const timer = setTimeout(resolve, timeMs);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}

async function answer(request: Request): Promise<unknown> {
  if (request.op === "hello") return { language: "typescript", version: sessiond.version, protocol: 1 };
  if (request.op === "connect") return connect(request);
  const client = clients.get(request.client ?? "main");
  if (client === undefined) throw new Unsupported(`there is no client ${request.client}`);
  if (request.op === "disconnect") return (client.close(), {});
  if (request.op === "run_task") return runTask(client, request);
  if (request.op.startsWith("watch_")) return watch(client, request);
  const method = methods.get(request.op);
  if (method === undefined) throw new Unsupported(`no op ${request.op}`);
  return call(client, method, request);
}

async function serve(request: Request): Promise<Fields> {
  const { id } = request;
  try {
    return { id, ok: await answer(request) };
  } catch (error) {
    if (error instanceof Unsupported) return { id, unsupported: error.message };
    if (!(error instanceof sessiond.SessiondError)) return { id, broken: error instanceof Error ? error.stack : error };
    return {
      id,
      error: {
        code: error.code,
        class: errorClasses.find(([, one]) => error instanceof one)?.[0],
        reason: error.reasonName,
        category: error.category,
        message: error.message,
        metadata: error.metadata,
        fields: error.fieldViolations.map((violation) => violation.field),
        retry_after_s: error.retryAfterMs === undefined ? null : error.retryAfterMs / 1000,
        from_daemon: error.fromDaemon,
      },
    };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() !== "") {
    void serve(JSON.parse(line) as Request).then((reply) => process.stdout.write(`${JSON.stringify(reply)}\n`));
  }
}
for (const client of clients.values()) client.close();
