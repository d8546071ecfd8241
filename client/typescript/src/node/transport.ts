// gRPC over HTTP/2, on one connection at a time.
import * as net from "node:net";
import * as tls from "node:tls";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import type { UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-grpc";
import { createNodeHttpClient, Http2SessionManager } from "@connectrpc/connect-node";
import type { RenewableTransport } from "../call.js";
import type { Address } from "./address.js";

// 30 s: finds a dead peer behind a NAT; the daemon accepts a ping a second.
const PING_INTERVAL_MS = 30_000;
// As long as gRPC gives a connection to come about.
const CONNECT_TIMEOUT_MS = 20_000;
// The daemon's longest call: by then, nothing is left on a connection that is used no more.
const LEFT_BEHIND_MS = 60_000;

/** A transport and its connection, which `renew` replaces and `close` ends. */
export class GrpcTransport implements RenewableTransport {
  readonly #address: Address;
  readonly #tls: tls.ConnectionOptions | undefined;
  readonly #left = new Map<Http2SessionManager, NodeJS.Timeout>();
  #connection: Http2SessionManager;
  #transport: Transport;
  #renewed = 0;

  constructor(address: Address, tls: tls.ConnectionOptions | undefined) {
    this.#address = address;
    this.#tls = tls;
    [this.#connection, this.#transport] = this.#open();
  }

  unary: Transport["unary"] = (...call) => this.#transport.unary(...call);
  stream: Transport["stream"] = (...call) => this.#transport.stream(...call);

  renew(): void {
    // All watches of a connection find out that it is dead at about the same time: once is enough.
    if (performance.now() - this.#renewed < 1000 && this.#renewed > 0) return;
    this.#renewed = performance.now();
    const left = this.#connection;
    const timer = setTimeout(() => {
      this.#left.delete(left);
      left.abort(new ConnectError("the connection fell silent", Code.Unavailable));
    }, LEFT_BEHIND_MS);
    timer.unref();
    this.#left.set(left, timer);
    [this.#connection, this.#transport] = this.#open();
  }

  close(): void {
    for (const [connection, timer] of this.#left) {
      clearTimeout(timer);
      connection.abort();
    }
    this.#left.clear();
    this.#connection.abort();
  }

  #open(): [Http2SessionManager, Transport] {
    const { host, port, path } = this.#address;
    const name = path === undefined ? `${net.isIPv6(host) ? `[${host}]` : host}:${port}` : "localhost";
    const baseUrl = `${this.#tls === undefined ? "http" : "https"}://${name}`;
    const connection = new Http2SessionManager(
      baseUrl,
      { pingIntervalMs: PING_INTERVAL_MS },
      { createConnection: () => this.#connect() },
    );
    const transport = createTransport({
      baseUrl,
      httpClient: withReadableMessages(createNodeHttpClient({ httpVersion: "2", sessionProvider: () => connection })),
      useBinaryFormat: true,
      interceptors: [],
      // The daemon compresses nothing, and takes nothing compressed.
      acceptCompression: [],
      sendCompression: null,
      compressMinBytes: 0,
      readMaxBytes: 0xffffffff,
      writeMaxBytes: 0xffffffff,
    });
    return [connection, transport];
  }

  #connect(): net.Socket {
    const { host, port, path } = this.#address;
    const where = path === undefined ? { host, port } : { path };
    const socket =
      this.#tls === undefined
        ? net.connect({ ...where, noDelay: true })
        : tls.connect({ servername: net.isIP(host) ? "" : host, ...this.#tls, ...where, ALPNProtocols: ["h2"] });
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error("the connection did not come about"), { code: "ETIMEDOUT" })),
      CONNECT_TIMEOUT_MS,
    );
    timer.unref();
    socket.once(this.#tls === undefined ? "connect" : "secureConnect", () => clearTimeout(timer));
    socket.once("close", () => clearTimeout(timer));
    return socket;
  }
}

// gRPC wants a message that is not encoded as it should be passed on as it is. Connect throws, and with it the code is
// lost: proxies do send such messages.
function withReadableMessages(client: UniversalClientFn): UniversalClientFn {
  return async (request) => {
    const response = await client(request);
    makeReadable(response.header);
    return {
      ...response,
      body: {
        [Symbol.asyncIterator]() {
          const chunks = response.body[Symbol.asyncIterator]();
          return {
            async next() {
              const chunk = await chunks.next();
              if (chunk.done === true) makeReadable(response.trailer);
              return chunk;
            },
            throw: (error: unknown) => chunks.throw?.(error) ?? Promise.reject(error),
          };
        },
      },
    };
  };
}

function makeReadable(headers: Headers): void {
  const message = headers.get("grpc-message");
  if (message === null) return;
  try {
    decodeURIComponent(message);
  } catch {
    headers.set("grpc-message", message.replaceAll("%", "%25"));
  }
}
