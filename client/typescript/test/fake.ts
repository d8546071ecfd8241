// A SessionService in this process, over real HTTP/2: it refuses as told, and remembers what it was asked.
import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import {
  type ListSessionsResponse,
  ListSessionsResponseSchema,
  SessionService,
  type WatchSessionsRequest,
  type WatchSessionsResponseSchema,
} from "../src/gen/sessiond/v1/session_service_pb.js";
import { type Client, connect, type ConnectOptions } from "../src/index.js";
import { durationFrom } from "../src/time.js";

export type WatchResponse = MessageInitShape<typeof WatchSessionsResponseSchema>;

/** A refusal as the daemon makes it. */
export function refusal(
  code: Code,
  reason: string,
  category: string,
  more: {
    metadata?: Record<string, string>;
    retryMs?: number;
    field?: string;
    headers?: HeadersInit;
    domain?: string;
  } = {},
): ConnectError {
  const { metadata, retryMs, field, headers, domain = "sessiond" } = more;
  return new ConnectError(`It is refused: ${reason}.`, code, headers, [
    { desc: ErrorInfoSchema, value: { reason, domain, metadata: { ...metadata, category } } },
    ...(retryMs === undefined ? [] : [{ desc: RetryInfoSchema, value: { retryDelay: durationFrom(retryMs) } }]),
    ...(field === undefined
      ? []
      : [{ desc: BadRequestSchema, value: { fieldViolations: [{ field, description: "It is wrong." }] } }]),
  ]);
}

export const draining = () => refusal(Code.Unavailable, "DRAINING", "TEMPORARY");

export interface Asked {
  readonly requestId: string;
  readonly headers: Headers;
  readonly at: number;
}

export class FakeServer {
  /** What the next calls are answered with, in this order; behind them all goes well. `hang` is never answered. */
  readonly next: (ConnectError | "hang" | "cut")[] = [];
  /** What PauseSession and GetSession were asked. */
  readonly asked: Asked[] = [];
  /** Called when something was asked. */
  onAsked: (() => void) | undefined;
  /** What ListSessions answers with, by its page token. */
  readonly pages = new Map<string, ListSessionsResponse | ConnectError>();
  /** What the next streams send, and end with; without an end they stay open. */
  readonly watches: { responses: WatchResponse[]; end?: ConnectError | "ok" | "cut" }[] = [];
  readonly watched: WatchSessionsRequest[] = [];
  /** The connections that streams came through, in their order. */
  readonly streamSockets: unknown[] = [];
  readonly sockets = new Set<Socket>();
  readonly #server: http2.Http2Server;
  #port = 0;

  constructor() {
    const handler = connectNodeAdapter({ routes: (router) => this.#routes(router) });
    this.#server = http2.createServer((request, response) => {
      if (request.url.endsWith("/WatchSessions")) this.streamSockets.push(request.stream.session);
      handler(request, response);
    });
    this.#server.on("connection", (socket: Socket) => {
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.sockets.delete(socket));
    });
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }
  async start(port = 0): Promise<this> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }
  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }
  client(options: ConnectOptions = {}): Client {
    return connect({ server: this.address, backoffInitialMs: 2, ...options });
  }
  hold(pageToken: string, ids: string[], nextPageToken: string): void {
    const sessions = ids.map((sessionId) => ({ sessionId }));
    this.pages.set(pageToken, create(ListSessionsResponseSchema, { sessions, nextPageToken }));
  }

  async #answer(requestId: string, context: HandlerContext): Promise<void> {
    this.asked.push({ requestId, headers: context.requestHeader, at: performance.now() });
    this.onAsked?.();
    const next = this.next.shift();
    if (next === undefined) return;
    if (next instanceof ConnectError) throw next;
    if (next === "cut") this.cut();
    await once(context.signal, "abort");
  }

  #routes(router: ConnectRouter): void {
    router.service(SessionService, {
      pauseSession: async ({ sessionId, requestId }, context) => {
        await this.#answer(requestId, context);
        return { sessionId, createTime: { seconds: 1_767_225_600n, nanos: 123_456_000 } };
      },
      getSession: async ({ sessionId }, context) => {
        await this.#answer("", context);
        return { sessionId };
      },
      listSessions: ({ pageToken }) => {
        const page = this.pages.get(pageToken);
        if (page === undefined || page instanceof ConnectError) throw page ?? new ConnectError(`no page ${pageToken}`);
        return page;
      },
      watchSessions: async function* (this: FakeServer, request: WatchSessionsRequest, context: HandlerContext) {
        this.watched.push(request);
        const watch = this.watches.shift();
        for (const response of watch?.responses ?? []) yield response;
        if (watch?.end === "ok") return;
        if (watch?.end instanceof ConnectError) throw watch.end;
        if (watch?.end === "cut") setImmediate(() => this.cut());
        await once(context.signal, "abort");
      }.bind(this),
    });
  }
}
