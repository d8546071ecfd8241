// Calls against a fake daemon: what is sent, what is tried again, and what is told of it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, beforeEach, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  CancelledError,
  type ClientEvent,
  connect,
  DeadlineExceededError,
  ErrorReason,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  SessiondError,
  UnauthenticatedError,
  UnavailableError,
} from "../src/index.js";
import { draining, FakeServer, refusal } from "./fake.js";

const server = await new FakeServer().start();
after(() => server.stop());
beforeEach(() => {
  server.next.length = 0;
  server.asked.length = 0;
});

async function refused<T extends SessiondError>(
  call: Promise<unknown>,
  type: abstract new (...args: never[]) => T,
): Promise<T> {
  const error = await call.then(
    () => assert.fail("It was not refused."),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof type, String(error));
  return error;
}

test("one request_id is drawn for a change and kept through its retries", async () => {
  const client = server.client();
  server.next.push(draining(), draining());
  await client.pauseSession({ sessionId: "s1" });
  await client.pauseSession({ sessionId: "s1" });
  const ids = server.asked.map(({ requestId }) => requestId);
  assert.equal(ids.length, 4);
  assert.match(ids[0] ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(ids.slice(0, 3)).size, 1);
  assert.notEqual(ids[3], ids[0]);
  client.close();
});

test("the caller's request_id is sent as it is, and the caller's request is left as it was", async () => {
  const client = server.client();
  const request = { sessionId: "s1" };
  await client.pauseSession({ ...request, requestId: "mine" });
  await client.pauseSession(request);
  assert.equal(server.asked[0]?.requestId, "mine");
  assert.deepEqual(request, { sessionId: "s1" });
  client.close();
});

test("a connection that is cut before the answer is no end: the change is sent again", async () => {
  const client = server.client();
  server.next.push("cut");
  const session = await client.pauseSession({ sessionId: "s1" });
  assert.equal(session.sessionId, "s1");
  assert.equal(server.asked.length, 2);
  assert.equal(server.asked[0]?.requestId, server.asked[1]?.requestId);
  client.close();
});

test("nothing but UNAVAILABLE is tried again", async () => {
  const client = server.client();
  for (const code of [Code.Internal, Code.Aborted, Code.ResourceExhausted, Code.DeadlineExceeded, Code.Canceled]) {
    server.asked.length = 0;
    server.next.push(new ConnectError("no", code));
    await refused(client.pauseSession({ sessionId: "s1" }), SessiondError);
    assert.equal(server.asked.length, 1, Code[code]);
  }
  client.close();
});

test("pauses are as long as RetryInfo says, and as the server's pushback says", async () => {
  const client = server.client();
  const pauses = () => server.asked.slice(1).map(({ at }, index) => at - (server.asked[index]?.at ?? 0));
  server.next.push(refusal(Code.Unavailable, "DRAINING", "TEMPORARY", { retryMs: 120 }));
  await client.getSession({ sessionId: "s1" });
  assert.ok((pauses()[0] ?? 0) >= 119, String(pauses()));

  server.asked.length = 0;
  server.next.push(new ConnectError("later", Code.Unavailable, { "grpc-retry-pushback-ms": "130" }));
  await client.getSession({ sessionId: "s1" });
  assert.ok((pauses()[0] ?? 0) >= 129, String(pauses()));
  client.close();
});

test("a negative pushback means no retry, and so does one that cannot be read", async () => {
  const client = server.client();
  for (const pushback of ["-1", "soon"]) {
    server.asked.length = 0;
    server.next.push(new ConnectError("never", Code.Unavailable, { "grpc-retry-pushback-ms": pushback }));
    await refused(client.getSession({ sessionId: "s1" }), UnavailableError);
    assert.equal(server.asked.length, 1);
  }
  client.close();
});

test("a call tells the daemon its deadline, its own or else the client's", async () => {
  const client = server.client({ timeoutMs: 40_000 });
  await client.getSession({ sessionId: "s1" });
  await client.getSession({ sessionId: "s1" }, { timeoutMs: 20_000 });
  const [clients, own] = server.asked.map(({ headers }) => headers.get("grpc-timeout") ?? "");
  for (const timeout of [clients, own]) assert.match(timeout ?? "", /^\d+m$/);
  const [clientsMs, ownMs] = [Number.parseInt(clients ?? "", 10), Number.parseInt(own ?? "", 10)];
  assert.ok(clientsMs <= 40_000 && clientsMs > 20_000, clients);
  assert.ok(ownMs <= 20_000 && ownMs > 0, own);
  client.close();
});

test("a call ends with its deadline, whatever it waits for", async (t) => {
  // A server of its own: what comes late is not to be taken for the next test's.
  const silent = await new FakeServer().start();
  t.after(() => silent.stop());
  silent.next.push("hang");
  const hasty = silent.client({ timeoutMs: 500 });
  await refused(hasty.getSession({ sessionId: "s1" }), DeadlineExceededError);
  hasty.close();

  let retries = 0;
  const client = server.client({ timeoutMs: 20_000, onEvent: ({ type }) => type === "retry" && retries++ });
  const again = (retryMs: number) => refusal(Code.Unavailable, "DRAINING", "TEMPORARY", { retryMs });
  server.next.push(again(10), again(20), again(60_000));
  const begun = performance.now();
  const error = await refused(client.getSession({ sessionId: "s1" }), UnavailableError);
  assert.ok(performance.now() - begun < 20_000);
  assert.equal(error.retryAfterMs, 60_000);
  assert.deepEqual([server.asked.length, retries], [3, 2]);
  client.close();
});

test("a pause beyond the deadline is not begun", async () => {
  const client = server.client({ timeoutMs: 20_000 });
  server.next.push(refusal(Code.Unavailable, "DATABASE_UNAVAILABLE", "TEMPORARY", { retryMs: 60_000 }));
  const begun = performance.now();
  const error = await refused(client.getSession({ sessionId: "s1" }), UnavailableError);
  assert.ok(performance.now() - begun < 19_000);
  assert.equal(error.reason, ErrorReason.DATABASE_UNAVAILABLE);
  assert.equal(error.retryAfterMs, 60_000);
  client.close();
});

test("an AbortSignal ends a call and a pause, and the client's end does", async () => {
  const client = server.client();
  server.next.push("hang");
  const given = new AbortController();
  server.onAsked = () => given.abort(new Error("given up"));
  const error = await refused(client.getSession({ sessionId: "s1" }, { signal: given.signal }), CancelledError);
  assert.equal((error.cause as Error).message, "given up");
  server.onAsked = undefined;

  server.next.push(refusal(Code.Unavailable, "DRAINING", "TEMPORARY", { retryMs: 5000 }));
  server.asked.length = 0;
  const abort = new AbortController();
  const pausing = server.client({ onEvent: ({ type }) => type === "retry" && abort.abort() });
  await refused(pausing.getSession({ sessionId: "s1" }, { signal: abort.signal }), CancelledError);
  assert.equal(server.asked.length, 1);
  pausing.close();

  server.next.push("hang");
  server.onAsked = () => client.close();
  assert.match((await refused(client.getSession({ sessionId: "s1" }), CancelledError)).message, /closed/);
  server.onAsked = undefined;
  await refused(client.getSession({ sessionId: "s1" }), CancelledError);
});

test("a refusal tells reason, category, metadata and details", async () => {
  const client = server.client();
  const metadata = { from: "upload", to: "review", allowed: "processing" };
  server.next.push(refusal(Code.FailedPrecondition, "INVALID_TRANSITION", "USER_FIXABLE", { metadata }));
  const error = await refused(client.pauseSession({ sessionId: "s1" }), FailedPreconditionError);
  assert.equal(error.code, "FAILED_PRECONDITION");
  assert.equal(error.reason, ErrorReason.INVALID_TRANSITION);
  assert.equal(error.reasonName, "INVALID_TRANSITION");
  assert.equal(error.category, "USER_FIXABLE");
  assert.deepEqual(error.metadata, metadata);
  assert.equal(error.message, "It is refused: INVALID_TRANSITION.");
  assert.equal(error.name, "FailedPreconditionError");
  assert.equal(error.method, "sessiond.v1.SessionService/PauseSession");
  assert.match(error.whoCanFixIt, /whoever sent the request/);
  assert.ok(error.fromDaemon);

  server.next.push(refusal(Code.InvalidArgument, "INVALID_FIELD", "USER_FIXABLE", { field: "actor" }));
  const invalid = await refused(client.pauseSession({ sessionId: "s1" }), InvalidArgumentError);
  assert.deepEqual(invalid.fieldViolations, [{ field: "actor", description: "It is wrong." }]);
  client.close();
});

test("a miss says why, and since when", async () => {
  const client = server.client();
  const metadata = { session_id: "s1", delete_time: "2026-01-02T03:04:05.000006Z" };
  server.next.push(refusal(Code.NotFound, "DELETED", "USER_FIXABLE", { metadata }));
  const error = await refused(client.getSession({ sessionId: "s1" }), NotFoundError);
  assert.equal(error.why, "DELETED");
  assert.equal(error.since?.toISOString(), "2026-01-02T03:04:05.000006Z");

  server.next.push(refusal(Code.NotFound, "NEVER_EXISTED", "USER_FIXABLE"));
  assert.equal((await refused(client.getSession({ sessionId: "s1" }), NotFoundError)).since, undefined);
  client.close();
});

test("a status that no daemon made has no reason; a reason newer than this client keeps its name", async () => {
  const client = server.client();
  server.next.push(refusal(Code.Internal, "INVALID_FIELD", "USER_FIXABLE", { domain: "elsewhere" }));
  const foreign = await refused(client.getSession({ sessionId: "s1" }), SessiondError);
  assert.deepEqual(
    [foreign.reason, foreign.reasonName, foreign.category, foreign.fromDaemon],
    [ErrorReason.ERROR_REASON_UNSPECIFIED, "", "", false],
  );
  server.next.push(refusal(Code.FailedPrecondition, "BRAND_NEW", "TEMPORARY"));
  const newer = await refused(client.getSession({ sessionId: "s1" }), FailedPreconditionError);
  assert.deepEqual(
    [newer.reason, newer.reasonName, newer.category],
    [ErrorReason.ERROR_REASON_UNSPECIFIED, "BRAND_NEW", "TEMPORARY"],
  );
  client.close();
});

test("metadata: who calls, a token for each attempt, the trace, and the caller's own", async () => {
  let tokens = 0;
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const client = server.client({
    token: async () => `token-${++tokens}`,
    traceparent: () => traceparent,
    headers: { "x-team": "a" },
  });
  server.next.push(draining());
  await client.getSession({ sessionId: "s1" }, { headers: { "x-call": "b" } });
  assert.deepEqual(
    server.asked.map(({ headers }) => headers.get("authorization")),
    ["Bearer token-1", "Bearer token-2"],
  );
  const headers = server.asked[1]?.headers;
  assert.equal(headers?.get("traceparent"), traceparent);
  assert.equal(headers?.get("x-team"), "a");
  assert.equal(headers?.get("x-call"), "b");
  assert.match(headers?.get("user-agent") ?? "", /^sessiond-typescript\/\d+\.\d+\.\d+$/);
  client.close();
});

test("a traceparent that fails, or that no header takes, is told, and the call goes on without", async () => {
  let answer: () => unknown = () => undefined;
  const told: ClientEvent[] = [];
  const client = server.client({
    traceparent: () => answer() as string | undefined,
    onEvent: (event) => told.push(event),
  });
  const fails: (() => unknown)[] = [
    () => {
      throw new Error("no tracer");
    },
    () => "no\ntrace",
    () => "ä",
    () => 7,
  ];
  for (answer of fails) {
    await client.getSession({ sessionId: "s1" });
    server.watches.push({ responses: [{ kind: { case: "bookmark", value: {} }, resumeToken: "t1" }] });
    for await (const item of client.watch({ initialState: true })) {
      assert.equal(item.type, "bookmark");
      break;
    }
  }
  assert.deepEqual([...new Set(server.asked.map(({ headers }) => headers.get("traceparent")))], [null]);
  const failed = told.filter((event) => event.type === "traceparent_not_sent");
  assert.equal(failed.length, 2 * fails.length);
  assert.ok(failed.every(({ method, error }) => /^sessiond\.v1\./.test(method) && error instanceof Error));
  told.length = 0;
  for (answer of [() => undefined, () => ""]) await client.getSession({ sessionId: "s1" });
  assert.equal(server.asked.at(-1)?.headers.has("traceparent"), false);
  assert.deepEqual([...new Set(told.map(({ type }) => type))], ["call"]);
  client.close();
  assert.throws(() => server.client({ traceparent: "no\ntrace" }), /^TypeError: traceparent is no traceparent/);
});

test("what a token's callback throws ends the call or watch, but what passes by itself is tried again", async () => {
  let thrown: unknown;
  let asked = 0;
  const token = () => {
    asked++;
    if (thrown === undefined) return "t";
    throw thrown;
  };
  const client = server.client({ token });
  const call = () => client.getSession({ sessionId: "s1" });
  const watch = () => client.watch()[Symbol.asyncIterator]().next();
  for (const ends of [call, watch]) {
    asked = 0;
    // Its own files and connections are not the daemon's.
    for (const code of ["ENOENT", "ECONNREFUSED"]) {
      thrown = Object.assign(new Error("nobody is logged in"), { code });
      const error = await refused(ends(), UnauthenticatedError);
      assert.match(error.message, /no token: nobody is logged in/);
      assert.equal(error.cause, thrown);
    }
    thrown = new NotFoundError({ code: "NOT_FOUND", message: "no such user" });
    assert.equal(await refused(ends(), NotFoundError), thrown);
    assert.equal(asked, 3);
  }
  assert.equal(server.asked.length, 0);

  const late: unknown = await once(AbortSignal.timeout(1), "abort").then(([event]) => event.target.reason);
  for (const passing of [
    new TypeError("fetch failed"),
    late,
    new UnavailableError({ code: "UNAVAILABLE", message: "later" }),
  ]) {
    const patient = server.client({ token, onEvent: ({ type }) => type === "retry" && (thrown = undefined) });
    thrown = passing;
    assert.equal((await patient.getSession({ sessionId: "s1" })).sessionId, "s1");
    thrown = passing;
    server.watches.push({ responses: [{ kind: { case: "bookmark", value: {} }, resumeToken: "t1" }] });
    const item = await patient.watch()[Symbol.asyncIterator]().next();
    assert.equal(item.value?.type, "bookmark");
    patient.close();
  }
  client.close();
});

test("a token that cannot be sent is refused, and not shown", async () => {
  for (const bad of ["s3cret\n", "Bearer s3cret", "s3cr\u00e9t", "s3cret\0"]) {
    assert.throws(
      () => server.client({ token: bad }),
      (error: Error) => !error.message.includes("s3cr"),
    );
    const client = server.client({ token: () => bad });
    const error = await refused(client.getSession({ sessionId: "s1" }), UnauthenticatedError);
    assert.match(error.message, /What `token` returned is no token/);
    assert.doesNotMatch(error.message, /s3cr/);
    client.close();
  }
});

test("a hook is told of retries and of the end of each call, and cannot break one", async () => {
  const events: ClientEvent[] = [];
  const client = server.client({
    onEvent: (event) => {
      events.push(event);
      throw new Error("a broken hook");
    },
  });
  server.next.push(draining());
  await client.pauseSession({ sessionId: "s1" });
  assert.deepEqual(
    events.map(({ type }) => type),
    ["retry", "call"],
  );
  const call = events[1];
  assert.ok(call?.type === "call");
  assert.deepEqual([call.attempts, call.sessionId, call.error], [2, "s1", undefined]);
  assert.equal(call.requestId, server.asked[0]?.requestId);
  client.close();
});

test("a daemon that comes late is found, and without one the last answer says why", async (t) => {
  const late = await new FakeServer().start();
  const port = Number(late.address.split(":")[1]);
  await late.stop();
  // Not tried again: a pause would be longer than the deadline.
  const hopeless = connect({ server: late.address, timeoutMs: 20_000, backoffInitialMs: 60_000 });
  const gone = await refused(hopeless.getSession({ sessionId: "s1" }), UnavailableError);
  assert.match(gone.message, /ECONNREFUSED/);
  hopeless.close();

  const again = new FakeServer();
  const tried: string[] = [];
  const client = connect({
    server: late.address,
    timeoutMs: 20_000,
    onEvent: (event) => {
      if (event.type !== "retry" || tried.push(event.error.message) > 1) return;
      void again.start(port);
      t.after(() => again.stop());
    },
  });
  assert.equal((await client.getSession({ sessionId: "s1" })).sessionId, "s1");
  assert.match(tried[0] ?? "", /ECONNREFUSED/);
  client.close();
});

test("a list is read page after page, and no page that nobody wants", async () => {
  const client = server.client();
  server.hold("", ["a", "b"], "p2");
  server.hold("p2", [], "p3");
  server.hold("p3", ["c"], "");
  const seen: string[] = [];
  for await (const session of client.listSessions({ filter: 'owner_id = "ada"' })) seen.push(session.sessionId);
  assert.deepEqual(seen, ["a", "b", "c"]);
  const pages: number[] = [];
  for await (const page of client.listSessions().pages()) pages.push(page.items.length);
  assert.deepEqual(pages, [2, 0, 1]);

  server.pages.set("p2", refusal(Code.InvalidArgument, "INVALID_PAGE_TOKEN", "USER_FIXABLE"));
  assert.equal((await client.listSessions().toArray(2)).length, 2);
  await refused(client.listSessions().toArray(), InvalidArgumentError);
  client.close();
});

test("a client with other options shares the connection, and its end", async () => {
  const client = server.client({ headers: { "x-team": "a" } });
  const hasty = client.with({ timeoutMs: 1000 });
  const others = new Set(server.sockets);
  await client.getSession({ sessionId: "s1" });
  await hasty.getSession({ sessionId: "s1" }, { timeoutMs: 20_000 });
  assert.equal(server.asked[1]?.headers.get("x-team"), "a");
  assert.equal([...server.sockets].filter((socket) => !others.has(socket)).length, 1);
  server.next.push("hang");
  await refused(hasty.getSession({ sessionId: "s1" }), DeadlineExceededError);
  hasty.close();
  await refused(client.getSession({ sessionId: "s1" }), CancelledError);
});
