// A daemon for tests of one's own: `sessiond serve --ephemeral`, with a PostgreSQL of its own, both gone at the end.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Client } from "../client.js";
import { connect, type ConnectOptions } from "./connect.js";

export interface TestServerOptions {
  /** The daemon's program. Without it SESSIOND_BINARY of the environment, else `sessiond` on the PATH. */
  readonly binary?: string | undefined;
  /** More options of `sessiond serve`, for example `["--workflows-dir", "workflows"]`. */
  readonly args?: readonly string[] | undefined;
  /** How long it may take to become ready: 60,000 ms unless said otherwise. */
  readonly startTimeoutMs?: number | undefined;
  /** Options of `client`. */
  readonly connect?: Omit<ConnectOptions, "server"> | undefined;
}

export interface TestServer {
  /** Its address, `127.0.0.1:PORT`. */
  readonly server: string;
  /** The address of its /metrics and /readyz. */
  readonly http: string;
  /** A client of it. */
  readonly client: Client;
  /** What it said so far, a line each. */
  readonly log: readonly string[];
  readonly process: ChildProcess;
  /** Ends it, and its database. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a daemon on free ports, and waits until it is ready. It ends with this process at the latest. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const binary = options.binary ?? (process.env["SESSIOND_BINARY"] || "sessiond");
  const daemon = spawn(
    binary,
    [
      "serve",
      "--ephemeral",
      "--grpc-listen=127.0.0.1:0",
      "--http-listen=127.0.0.1:0",
      "--log-format=json",
      ...(options.args ?? []),
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const kill = () => daemon.kill("SIGTERM");
  process.on("exit", kill);
  daemon.once("exit", () => process.off("exit", kill));

  const log: string[] = [];
  const lines = createInterface({ input: daemon.stderr });
  const timeoutMs = options.startTimeoutMs ?? 60_000;
  const ready = await new Promise<{ grpc: string; http: string }>((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      kill();
      reject(new Error([`${binary} ${why}`, ...log.slice(-20)].join("\n"), { cause }));
    };
    const timer = setTimeout(() => fail(`was not ready after ${timeoutMs} ms.`), timeoutMs);
    daemon.once("error", (error) =>
      fail(`cannot be started: ${error.message}. Set SESSIOND_BINARY, or put sessiond on the PATH.`, error),
    );
    daemon.once("exit", (code, signal) => fail(`ended with ${signal ?? code} before it was ready.`));
    lines.on("line", (line) => {
      log.push(line);
      const said = parse(line);
      if (said["msg"] !== "ready" || typeof said["grpc"] !== "string") return;
      clearTimeout(timer);
      resolve({ grpc: said["grpc"], http: String(said["http"]) });
    });
  });

  const client = connect({ ...options.connect, server: ready.grpc });
  const stop = async () => {
    client.close();
    if (daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, "exit");
    kill();
    await ended;
  };
  return { server: ready.grpc, http: ready.http, client, log, process: daemon, stop, [Symbol.asyncDispose]: stop };
}

function parse(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}
