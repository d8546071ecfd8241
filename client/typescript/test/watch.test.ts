// The watcher against a fake daemon: what is handed out, what is kept back, and what makes it go on.
import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type ClientEvent,
  fileTokens,
  InternalError,
  InvalidArgumentError,
  OutOfRangeError,
  type Watch,
  type WatchItem,
} from "../src/index.js";
import { draining, FakeServer, refusal, type WatchResponse } from "./fake.js";

const server = await new FakeServer().start();
after(() => server.stop());
const events: ClientEvent[] = [];
const client = server.client({ onEvent: (event) => events.push(event) });
after(() => client.close());
beforeEach(() => {
  server.watches.length = server.watched.length = server.streamSockets.length = events.length = 0;
});

const present = (sessionId: string, resumeToken: string): WatchResponse => ({
  kind: { case: "session", value: { sessionId } },
  resumeToken,
});
const bookmark = (resumeToken: string): WatchResponse => ({ kind: { case: "bookmark", value: {} }, resumeToken });
const heartbeat = (resumeToken: string): WatchResponse => ({ kind: { case: "heartbeat", value: {} }, resumeToken });
const change = (sessionId: string, sequence: number, resumeToken: string): WatchResponse => ({
  kind: { case: "change", value: { event: { sessionId, sequence }, session: { sessionId } } },
  matches: true,
  resumeToken,
});

function told(item: WatchItem): string {
  if (item.type === "session") return `present ${item.session.sessionId}`;
  return item.type === "change" ? `${item.event.sessionId}#${item.event.sequence}` : item.type;
}

// What is told until `last` is, or the watch ends.
async function follow(watch: Watch, last?: string): Promise<string[]> {
  const all: string[] = [];
  for await (const item of watch) {
    all.push(told(item));
    if (all.at(-1) === last) break;
  }
  return all;
}

test("the initial state, then one bookmark, then every change", async () => {
  server.watches.push({ responses: [present("a", "t1"), bookmark("t2"), change("a", 2, "t3"), change("a", 3, "t4")] });
  const watch = client.watch({ initialState: true });
  assert.deepEqual(await follow(watch, "a#3"), ["present a", "bookmark", "a#2", "a#3"]);
  assert.equal(watch.resumeToken, "t3"); // The caller left in the middle of the last one.
});

for (const end of [
  "ok",
  "cut",
  draining(),
  new ConnectError("a proxy's idle time has passed", Code.Internal),
  new ConnectError("nobody knows", Code.Unknown),
  new ConnectError("gone in a hurry", Code.Canceled),
  new ConnectError("streams live so long", Code.DeadlineExceeded),
  refusal(Code.ResourceExhausted, "OVERLOADED", "TEMPORARY"),
] as const) {
  const name = end instanceof ConnectError ? end.message : end;
  test(`a stream that ends is resumed behind what was told: ${name}`, async () => {
    server.watches.push({ responses: [bookmark("t1"), change("a", 2, "t2")], end });
    server.watches.push({ responses: [bookmark("t2"), change("a", 3, "t3")] });
    assert.deepEqual(await follow(client.watch({ initialState: true }), "a#3"), ["bookmark", "a#2", "a#3"]);
    assert.deepEqual(
      server.watched.map(({ resumeToken, initialState }) => [resumeToken, initialState]),
      [
        ["", true],
        ["t2", false],
      ],
    );
    assert.equal(events.filter(({ type }) => type === "retry").length, 1);
  });
}

test("an initial state that breaks off is told anew, and the caller hears of it", async () => {
  server.watches.push({ responses: [present("a", "t1")], end: draining() });
  server.watches.push({ responses: [present("a", "u1"), present("b", "u2"), bookmark("u3")] });
  const all = await follow(client.watch({ initialState: true }), "bookmark");
  assert.deepEqual(all, ["present a", "restart", "present a", "present b", "bookmark"]);
});

test("what was refused before anything was heard is asked as before", async () => {
  server.watches.push({ responses: [], end: draining() }, { responses: [present("a", "t1"), bookmark("t2")] });
  assert.deepEqual(await follow(client.watch({ initialState: true }), "bookmark"), ["present a", "bookmark"]);
  assert.equal(server.watched[1]?.initialState, true);
});

test("heartbeats move the token on and are kept back", async () => {
  server.watches.push({ responses: [bookmark("t1"), heartbeat("t2"), heartbeat("t3")], end: draining() });
  server.watches.push({ responses: [bookmark("t3"), change("a", 2, "t4")] });
  assert.deepEqual(await follow(client.watch(), "a#2"), ["bookmark", "a#2"]);
  assert.equal(server.watched[1]?.resumeToken, "t3");
});

test("a daemon that falls silent is left, on another connection", async () => {
  server.watches.push({ responses: [bookmark("t1")] }); // And then nothing.
  server.watches.push({ responses: [bookmark("t1"), change("a", 2, "t2")] });
  const begun = performance.now();
  assert.deepEqual(await follow(client.watch({}, { silenceMs: 8000 }), "a#2"), ["bookmark", "a#2"]);
  assert.ok(performance.now() - begun >= 7999);
  assert.equal(new Set(server.streamSockets).size, 2);
});

for (const [end, type] of [
  [refusal(Code.InvalidArgument, "INVALID_FILTER", "USER_FIXABLE"), InvalidArgumentError],
  [refusal(Code.OutOfRange, "RESUME_TOKEN_EXPIRED", "USER_FIXABLE"), OutOfRangeError],
  [refusal(Code.Internal, "SCHEMA_MISMATCH", "ADMIN_REQUIRED"), InternalError],
] as const) {
  test(`what does not pass by itself ends the watch: ${end.message}`, async () => {
    server.watches.push({ responses: [bookmark("t1")], end });
    await assert.rejects(follow(client.watch()), type);
    assert.equal(server.watched.length, 1);
  });
}

test("close and an AbortSignal end a watch at once, without an error", async () => {
  server.watches.push({ responses: [bookmark("t1")] }, { responses: [bookmark("t1")] });
  const watch = client.watch();
  const all: string[] = [];
  for await (const item of watch) {
    all.push(told(item));
    setTimeout(() => watch.close(), 20);
  }
  assert.deepEqual(all, ["bookmark"]);
  const abort = new AbortController();
  const types: string[] = [];
  for await (const item of client.watch({}, { signal: abort.signal })) {
    types.push(item.type);
    setTimeout(() => abort.abort(), 20);
  }
  assert.deepEqual(types, ["bookmark"]);

  server.watches.push({ responses: [], end: refusal(Code.Unavailable, "DRAINING", "TEMPORARY", { retryMs: 20_000 }) });
  const begun = performance.now();
  assert.deepEqual(await follow(client.watch({}, { signal: AbortSignal.timeout(300) })), []);
  assert.ok(performance.now() - begun < 15_000);
});

test("a store keeps the place: what was handled is not told again, what was not is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sessiond-tokens-"));
  const tokens = fileTokens(join(folder, "place"));
  server.watches.push({ responses: [bookmark("t1"), change("a", 2, "t2"), change("a", 3, "t3")] });
  await follow(client.watch({ initialState: true }, { tokens }), "a#3"); // Left while a#3 was handled.
  assert.equal(await readFile(join(folder, "place"), "utf8"), "t2");
  server.watches.push({ responses: [bookmark("t2"), change("a", 3, "t3"), change("a", 4, "t4")] });
  assert.deepEqual(await follow(client.watch({ initialState: true }, { tokens }), "a#4"), ["bookmark", "a#3", "a#4"]);
  assert.deepEqual([server.watched[1]?.resumeToken, server.watched[1]?.initialState], ["t2", false]);
  await rm(folder, { recursive: true });
});

test("a place that another client has written is taken as it is meant", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sessiond-tokens-"));
  t.after(() => rm(folder, { recursive: true }));
  const tokens = fileTokens(join(folder, "place"));
  await writeFile(join(folder, "place"), "t2\n"); // As those for C++, Go and Java do.
  server.watches.push({ responses: [bookmark("t2")] });
  await follow(client.watch({}, { tokens }), "bookmark");
  assert.equal(server.watched[0]?.resumeToken, "t2");
});

test("a place is on the disk before it replaces the one before", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sessiond-tokens-"));
  t.after(() => rm(folder, { recursive: true }));
  const place = join(folder, "place");
  const tokens = fileTokens(place);
  await tokens.save("t1");
  const any = await open(place);
  const handles = Object.getPrototypeOf(any) as typeof any;
  await any.close();
  const synced: string[][] = [];
  t.mock.method(handles, "sync", async () => {
    synced.push([await readFile(place, "utf8"), await readFile(`${place}.new`, "utf8")]);
  });
  await tokens.save("t2");
  assert.deepEqual(synced, [["t1", "t2"]]);
  assert.equal(await tokens.load(), "t2");
});

test("a store that fails is told of, and does not end the watch", async () => {
  server.watches.push({ responses: [bookmark("t1"), change("a", 2, "t2")] });
  const tokens = { load: () => null, save: () => Promise.reject(new Error("disk full")) };
  assert.deepEqual(await follow(client.watch({}, { tokens }), "a#2"), ["bookmark", "a#2"]);
  assert.ok(events.some(({ type }) => type === "token_not_saved"));
});

test("a watch is iterated over once", async () => {
  server.watches.push({ responses: [bookmark("t1")] });
  const watch = client.watch();
  await follow(watch, "bookmark");
  assert.throws(() => watch[Symbol.asyncIterator](), /once/);
});
