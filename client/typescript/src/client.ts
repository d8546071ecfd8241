// The client: every call of every service under its RPC's name, on any transport.
import type { DescMessage, DescMethodUnary, DescService, MessageShape } from "@bufbuild/protobuf";
import type { JsonObject } from "@bufbuild/protobuf";
import { Caller, type CallerOptions, type CallOptions, type RenewableTransport } from "./call.js";
import { AdminService } from "./gen/sessiond/v1/admin_service_pb.js";
import { ArtifactService } from "./gen/sessiond/v1/artifact_service_pb.js";
import { ErrorService } from "./gen/sessiond/v1/error_service_pb.js";
import { MessageService } from "./gen/sessiond/v1/message_service_pb.js";
import { SessionService, type WatchSessionsRequest } from "./gen/sessiond/v1/session_service_pb.js";
import { TaskService } from "./gen/sessiond/v1/task_service_pb.js";
import { WorkflowService } from "./gen/sessiond/v1/workflow_service_pb.js";
import { importSessions, type ImportOptions, type ImportRequest, type ImportResult } from "./import.js";
import { type Init, requestFrom, type Result, resultFrom } from "./messages.js";
import { Pages } from "./pages.js";
import { type RunningTask, runTask, type RunTaskOptions, type TaskRun } from "./task.js";
import { Watch, watch, type WatchOptions } from "./watch.js";

type Item<O> = { [K in Exclude<keyof O, "$unknown">]: O[K] extends readonly (infer T)[] ? T : never }[Exclude<
  keyof O,
  "$unknown"
>];

// A call answers its response; one that answers in pages, all of their items.
type Call<I extends DescMessage, O extends DescMessage> =
  MessageShape<O> extends { nextPageToken: string }
    ? (request?: Init<MessageShape<I>>, options?: CallOptions) => Pages<Result<Item<MessageShape<O>>>>
    : (request: Init<MessageShape<I>>, options?: CallOptions) => Promise<Result<MessageShape<O>>>;

type Calls<S extends DescService> = {
  [K in keyof S["method"] as S["method"][K] extends { methodKind: "unary" } ? K : never]: S["method"][K] extends {
    input: infer I extends DescMessage;
    output: infer O extends DescMessage;
  }
    ? Call<I, O>
    : never;
};

/**
 * Every call, under its RPC's name: `createSession`, `startTask`, … The comment of each says what it refuses. A call
 * rejects with a SessiondError.
 */
export interface Client
  extends Calls<typeof SessionService>,
    Calls<typeof TaskService>,
    Calls<typeof ErrorService>,
    Calls<typeof MessageService>,
    Calls<typeof ArtifactService>,
    Calls<typeof WorkflowService>,
    Calls<typeof AdminService> {
  /** Watches sessions; see Watch. */
  watch(request?: Init<WatchSessionsRequest>, options?: WatchOptions): Watch;
  /**
   * Runs a task: starts it, keeps it alive while `work` runs, and completes it with what `work` returns, or fails it
   * with what it throws. Rejects with TaskFailedError, TaskCancelledError or TaskLostError; with a SessiondError when
   * the daemon refuses the start or the completion.
   */
  runTask(
    options: RunTaskOptions,
    work: (task: RunningTask) => Promise<JsonObject | void> | JsonObject | void,
  ): Promise<TaskRun>;
  /** Takes existing sessions in, and tells what became of each; see ImportSessions. Not in browsers. */
  importSessions(
    sessions: AsyncIterable<ImportRequest> | Iterable<ImportRequest>,
    options?: ImportOptions,
  ): AsyncGenerator<ImportResult, void, undefined>;
  /** The same client with other options: on the same connection, and closed together with it. */
  with(options: CallerOptions): Client;
  /** Ends all that is under way, and the connection. */
  close(): void;
}

export interface ClientOptions extends CallerOptions {
  /** One of Connect's. */
  readonly transport: RenewableTransport;
  /** Called by `close`, to end the connection. */
  readonly onClose?: (() => void) | undefined;
}

const services: readonly DescService[] = [
  SessionService,
  TaskService,
  ErrorService,
  MessageService,
  ArtifactService,
  WorkflowService,
  AdminService,
];

/** A client on a transport of one's own; `connect` makes the transport, too. */
export function createClient(options: ClientOptions): Client {
  const { transport, onClose, ...rest } = options;
  return clientOf(new Caller(transport, rest), onClose);
}

function clientOf(caller: Caller, onClose: (() => void) | undefined): Client {
  const calls: Record<string, unknown> = {};
  for (const service of services) {
    for (const method of service.methods) {
      if (method.methodKind === "unary") calls[method.localName] = callOf(caller, method as DescMethodUnary);
    }
  }
  const close = () => {
    caller.close();
    onClose?.();
  };
  const client: Client = Object.assign(calls as unknown as Client, {
    watch: (request: Init<WatchSessionsRequest> = {}, options: WatchOptions = {}) => watch(caller, request, options),
    runTask: (options: RunTaskOptions, work: (task: RunningTask) => Promise<JsonObject | void> | JsonObject | void) =>
      runTask(client, caller, options, work),
    importSessions: (sessions: AsyncIterable<ImportRequest> | Iterable<ImportRequest>, options: ImportOptions = {}) =>
      importSessions(caller, sessions, options),
    with: (other: CallerOptions) => clientOf(caller.with(other), onClose),
    close,
  });
  return client;
}

function callOf(caller: Caller, method: DescMethodUnary) {
  const items = method.output.fields.find((field) => field.fieldKind === "list");
  const paged = method.output.fields.some((field) => field.localName === "nextPageToken");
  if (!paged || items === undefined) {
    return async (given: unknown, options?: CallOptions) => {
      const answer = await caller.unary(method, requestFrom(method.input, given ?? {}), options);
      return resultFrom(method.output, answer);
    };
  }
  return (given: unknown = {}, options?: CallOptions) =>
    new Pages(async (pageToken) => {
      const request = requestFrom(method.input, given) as unknown as { pageToken: string };
      if (pageToken !== undefined) request.pageToken = pageToken;
      const answer = await caller.unary(method, request as never, options);
      const page = resultFrom(method.output, answer) as unknown as Record<string, unknown>;
      return { items: page[items.localName] as unknown[], nextPageToken: page["nextPageToken"] as string };
    });
}
