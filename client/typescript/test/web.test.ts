// `connect` of browsers, over Node's fetch, which speaks HTTP/1.1, to a real daemon.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import * as net from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import {
  type ClientEvent,
  connect,
  DeadlineExceededError,
  ErrorReason,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  ResourceExhaustedError,
  SessionEvent_Type,
  SessionTask_Status,
  UnavailableError,
} from "../src/browser.js";
import { startTestServer } from "../src/node/testing.js";

const server = await startTestServer();
after(() => server.stop());
const url = `http://${server.http}`;

for (const json of [false, true]) {
  const format = json ? "JSON" : "binary";

  test(`calls, refusals, pages, tasks and a watch: ${format}`, async () => {
    const sessiond = connect({ url, json });
    const ownerId = `ada-${format}`;
    const session = await sessiond.createSession({
      session: { workflow: "ticket_export", ownerId, ownerDisplayName: "Ada", context: { site_name: "Berlin" } },
    });
    const { sessionId } = session;
    assert.deepEqual(session.context, { site_name: "Berlin" });
    assert.equal(
      session.createTime?.toISOString(),
      (await server.client.getSession({ sessionId })).createTime?.toJSON(),
    );
    await sessiond.createSession({ session: { workflow: "ticket_export", ownerId, ownerDisplayName: "Ada" } });
    const pages: number[] = [];
    const list = sessiond.listSessions({ filter: `owner_id = "${ownerId}"`, pageSize: 1 });
    for await (const { items } of list.pages()) pages.push(items.length);
    assert.deepEqual(
      pages.filter((items) => items > 0),
      [1, 1],
    );

    await assert.rejects(sessiond.advanceSession({ sessionId, targetStage: "review" }), (error) => {
      assert.ok(error instanceof FailedPreconditionError && error.fromDaemon);
      assert.deepEqual([error.reason, error.category], [ErrorReason.INVALID_TRANSITION, "USER_FIXABLE"]);
      assert.equal(error.metadata["allowed"], "upload");
      return true;
    });
    const unknown = sessiond.getSession({ sessionId: "0192f3c4-9f2e-7abc-8def-0123456789ab" });
    await assert.rejects(unknown, (error) => error instanceof NotFoundError && error.why === "NEVER_EXISTED");
    await assert.rejects(sessiond.createSession({ session: { workflow: "NO" } }), (error) => {
      assert.ok(error instanceof InvalidArgumentError);
      return error.fieldViolations.some(({ field }) => field === "session.workflow");
    });

    await sessiond.advanceSession({ sessionId, targetStage: "upload" });
    const seen: string[] = [];
    for await (const item of sessiond.watch({ sessionIds: [sessionId], initialState: true })) {
      seen.push(item.type === "change" ? (SessionEvent_Type[item.event.type] ?? "") : item.type);
      if (item.type === "bookmark") {
        const run = await sessiond.runTask(
          { sessionId, taskType: "processing", startStage: "processing", endStage: "review" },
          () => ({ tickets: 3 }),
        );
        assert.equal(run.task.status, SessionTask_Status.COMPLETED);
      }
      if (item.type === "change" && item.event.type === SessionEvent_Type.TASK_COMPLETED) break;
    }
    // A stage and its task are one change of two events, in this order.
    assert.deepEqual(seen.slice(0, 2), ["session", "bookmark"]);
    assert.deepEqual(
      seen.slice(2).filter((type) => type.startsWith("TASK_")),
      ["TASK_STARTED", "TASK_COMPLETED"],
    );
    sessiond.close();
  });
}

test("keys of a mask travel unharmed in the binary form", async () => {
  const sessiond = connect({ url });
  const { sessionId } = await sessiond.createSession({ session: { workflow: "interview", ownerId: "ada" } });
  const session = await sessiond.updateSession({
    session: { sessionId, labels: { "a_1.b": "x" } },
    updateMask: ["labels.`a_1.b`"],
  });
  assert.deepEqual(session.labels, { "a_1.b": "x" });
  sessiond.close();
});

// Passes connections on to the daemon, and cuts them when told.
class Wire {
  readonly #sockets = new Set<net.Socket>();
  readonly #server = net.createServer((near) => {
    const [host, port] = server.http.split(":");
    const far = net.connect(Number(port), host);
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
  stop(): void {
    this.#server.close();
    this.cut();
  }
}

test("a watch that is cut resumes behind what it has told", async (t) => {
  const wire = new Wire();
  t.after(() => wire.stop());
  const events: ClientEvent[] = [];
  const sessiond = connect({ url: await wire.start(), onEvent: (event) => events.push(event) });
  const { sessionId } = await server.client.createSession({ session: { workflow: "interview", ownerId: "ada" } });
  const seen: number[] = [];
  for await (const item of sessiond.watch({ sessionIds: [sessionId] })) {
    if (item.type === "change") seen.push(item.event.sequence);
    if (seen.length === 4) break;
    wire.cut();
    await server.client.pauseSession({ sessionId }); // While nobody is connected.
    await server.client.resumeSession({ sessionId });
  }
  assert.deepEqual(seen, [2, 3, 4, 5]);
  const lost = events.filter((event) => event.type === "retry");
  assert.ok(lost.length > 0);
  for (const { error } of lost) assert.ok(error instanceof UnavailableError, error.message);
  assert.ok(events.some(({ type }) => type === "resumed"));
  sessiond.close();
});

test("a token is asked for before every attempt, and a change keeps its request_id", async () => {
  let tokens = 0;
  const sent: [string | null, string][] = [];
  const sessiond = connect({
    url,
    json: true,
    backoffInitialMs: 1,
    token: async () => `token-${++tokens}`,
    fetch: (input, init) => {
      const body = JSON.parse(new TextDecoder().decode(init?.body as Uint8Array)) as { requestId: string };
      sent.push([new Headers(init?.headers).get("authorization"), body.requestId]);
      if (sent.length === 1) throw new TypeError("fetch failed");
      return fetch(input, init);
    },
  });
  await sessiond.createSession({ session: { workflow: "interview", ownerId: "ada" } });
  assert.deepEqual(
    sent.map(([token]) => token),
    ["Bearer token-1", "Bearer token-2"],
  );
  assert.match(sent[0]?.[1] ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(sent[0]?.[1], sent[1]?.[1]);
  sessiond.close();
});

test("who is asking is said in a header that browsers let pages set", async () => {
  const names: string[] = [];
  const sessiond = connect({
    url,
    fetch: (input, init) => {
      new Headers(init?.headers).forEach((value, name) => {
        if (value.startsWith("sessiond-typescript/")) names.push(name);
      });
      return fetch(input, init);
    },
  });
  await sessiond.getServerInfo({});
  Object.assign(globalThis, { document: {} });
  try {
    await sessiond.getServerInfo({});
  } finally {
    Reflect.deleteProperty(globalThis, "document");
  }
  assert.deepEqual(names, ["user-agent", "x-user-agent"]);
  sessiond.close();
});

test("a deadline is the daemon's, too, and one that is over is DEADLINE_EXCEEDED", async (t) => {
  const silent = net.createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => silent.close());
  let told: string | null = null;
  const sessiond = connect({
    url: `http://127.0.0.1:${(silent.address() as net.AddressInfo).port}`,
    fetch: (input, init) => {
      told = new Headers(init?.headers).get("connect-timeout-ms");
      return fetch(input, init);
    },
  });
  await assert.rejects(sessiond.getServerInfo({}, { timeoutMs: 200 }), DeadlineExceededError);
  assert.ok(Number(told) > 0 && Number(told) <= 200, String(told));
  sessiond.close();
});

test("what a refusal's headers say is obeyed, and a proxy's page is tried again", async () => {
  const answers = [
    () => new Response("<h1>502 Bad Gateway</h1>", { status: 502, headers: { "content-type": "text/html" } }),
    () =>
      Response.json(
        { code: "resource_exhausted", message: "Too much." },
        { status: 429, headers: { "trailer-grpc-retry-pushback-ms": "1500" } },
      ),
  ];
  const sessiond = connect({ url, backoffInitialMs: 1, fetch: async () => answers.shift()?.() ?? Response.error() });
  await assert.rejects(sessiond.getServerInfo({}), (error) => {
    assert.ok(error instanceof ResourceExhaustedError);
    assert.equal(error.pushbackMs, 1500);
    return true;
  });
  assert.equal(answers.length, 0);
  sessiond.close();
});

test("what cannot be reached is UNAVAILABLE, and says what it may be", async () => {
  const gone = net.createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as net.AddressInfo;
  gone.close();
  await once(gone, "close");
  // Not tried again: a pause would be longer than the deadline.
  const sessiond = connect({ url: `http://127.0.0.1:${port}`, backoffInitialMs: 60_000 });
  await assert.rejects(sessiond.getServerInfo({}), (error) => {
    assert.ok(error instanceof UnavailableError);
    assert.match(error.message, new RegExp(`http://127\\.0\\.0\\.1:${port} cannot be reached, .*ECONNREFUSED`));
    return true;
  });
});

for (const [text, why] of [
  ["sessiond.example:7377", /has to be a URL/],
  ["/sessiond", /has to be a URL/], // There is no page here.
  ["ftp://sessiond.example", /has to be a URL/],
  ["https://sessiond.example?token=x", /without a user, a query/],
  ["http://sessiond.example", /unencrypted/],
  ["http://127.evil.example", /unencrypted/],
] as const) {
  test(`a URL that cannot be used is refused: ${text}`, () => {
    assert.throws(() => connect({ url: text, token: "secret" }), { name: "TypeError", message: why });
  });
}

test("an empty URL is not the page's own", () => {
  Object.assign(globalThis, { location: { href: "https://page.example/app/", origin: "https://page.example" } });
  try {
    assert.throws(() => connect({ url: "" }), /^TypeError: url is "".* has to be a URL/);
    connect({ url: "/sessiond" });
  } finally {
    Reflect.deleteProperty(globalThis, "location");
  }
});

test("a token goes to this machine unencrypted, and to others encrypted", () => {
  for (const fine of [
    "http://localhost:8377",
    "http://127.0.0.1",
    "http://[::1]:8377/",
    "https://sessiond.example/a",
  ]) {
    connect({ url: fine, token: "secret" });
  }
});

test("the browser's entries are bundled without a module of Node", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sessiond-bundle-"));
  t.after(() => rm(folder, { recursive: true }));
  for (const entry of ["@sessiond/client", "@sessiond/client/browser"]) {
    const { metafile } = await build({
      stdin: {
        contents: `export * from "${entry}";`,
        // The package itself, by its name.
        resolveDir: fileURLToPath(new URL("../..", import.meta.url)),
      },
      bundle: true,
      // Node's modules are not there, as they are not for browsers' bundlers.
      platform: "browser",
      format: "esm",
      outfile: join(folder, "bundle.js"),
      metafile: true,
      logLevel: "silent",
    });
    const inputs = Object.keys(metafile.inputs);
    assert.ok(inputs.some((path) => path.endsWith("dist/web/connect.js")));
    assert.deepEqual(
      inputs.filter((path) => path.includes("dist/node/") || path.includes("connect-node")),
      [],
    );
    const [bundle] = Object.values(metafile.outputs);
    assert.deepEqual(bundle?.imports, []);
    assert.ok(bundle?.exports.includes("connect"));
  }
});
