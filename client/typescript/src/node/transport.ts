// gRPC over HTTP/2, on one connection at a time.
import * as net from "node:net";
import * as tls from "node:tls";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
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
    // The daemon compresses nothing, and takes nothing compressed.
    return [connection, createGrpcTransport({ baseUrl, sessionManager: connection, acceptCompression: [] })];
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
