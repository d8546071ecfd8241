// Against a real daemon: the task runner, updates, imports and watches. SESSIOND_BINARY says where it is.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import {
  type Client,
  type ClientEvent,
  connect,
  DeadlineExceededError,
  ErrorReason,
  FailedPreconditionError,
  InvalidArgumentError,
  NotFoundError,
  type RunTaskOptions,
  Session_State,
  SessionError_Category,
  SessionEvent_Type,
  SessiondError,
  SessionTask_Status,
  TaskCancelledError,
  TaskFailedError,
  TaskLostError,
  UnavailableError,
  ImportSessionsResponse_Result,
} from "../src/index.js";
import { startTestServer } from "../src/node/testing.js";

const events: ClientEvent[] = [];
const server = await startTestServer({ connect: { onEvent: (event) => events.push(event) } });
const { client } = server;
after(() => server.stop());

// A session of ticket_export at its stage `processing`, and how to run a task there.
async function processing(more: Partial<RunTaskOptions> = {}): Promise<RunTaskOptions> {
  const { sessionId } = await client.createSession({
    session: { workflow: "ticket_export", ownerId: "ada", ownerDisplayName: "Ada", context: { site_name: "Berlin" } },
  });
  await client.advanceSession({ sessionId, targetStage: "upload" });
  return { sessionId, taskType: "processing", startStage: "processing", heartbeatIntervalMs: 20, ...more };
}

async function forever(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, "abort");
  throw signal.reason;
}

async function rejection<T extends Error>(
  promise: Promise<unknown>,
  type: abstract new (...args: never[]) => T,
): Promise<T> {
  const error = await promise.then(
    () => assert.fail("It was not rejected."),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof type, String(error));
  return error;
}

test("work that goes well completes its task, and moves the session on with it", async () => {
  const options = await processing({ endStage: "review", actor: "ada", reason: "asked for" });
  const run = await client.runTask(options, async (task) => {
    await task.progress({ pages: 1 });
    return { tickets: 3 };
  });
  assert.equal(run.task.status, SessionTask_Status.COMPLETED);
  assert.deepEqual([run.attempts, run.task.result, run.task.progress], [1, { tickets: 3 }, { pages: 1 }]);
  assert.equal((await client.getSession({ sessionId: options.sessionId })).stage, "review");
  const audit = await client.listSessionEvents({ sessionId: options.sessionId }).toArray();
  const completed = audit.find(({ type }) => type === SessionEvent_Type.TASK_COMPLETED);
  assert.deepEqual([completed?.actor, completed?.reason], ["ada", "asked for"]);
});

test("a failure is recorded, and the work tried again as often as is asked and allowed", async () => {
  const options = await processing({ attemptsMax: 2 });
  const error = await rejection(
    client.runTask(options, (task) => {
      throw new RangeError(`disk ${task.attempt} is full`);
    }),
    TaskFailedError,
  );
  assert.deepEqual([error.attempts, error.task.retryCount], [2, 2]);
  assert.equal(error.task.status, SessionTask_Status.FAILED);
  assert.deepEqual(error.task.failureContext, { message: "disk 2 is full", type: "RangeError" });
  assert.ok(error.cause instanceof RangeError);
  const errors = await client.listErrors({ sessionId: options.sessionId }).toArray();
  assert.deepEqual(
    errors.map(({ category, errorCode }) => [SessionError_Category[category], errorCode]),
    [
      ["ADMIN_REQUIRED", "RangeError"],
      ["TEMPORARY", "RangeError"],
    ],
  );
});

for (const [what, message, recorded] of [
  ["a NUL in it", "a\0b\r\nc", "a\ufffdb\ufffd\nc"],
  ["more bytes than may be recorded", "ä".repeat(5000), "ä".repeat(2048)],
  ["half a character in it", "a\ud800", "a\ufffd"],
  ["nothing in it", "", "no message"],
] as const) {
  test(`a failure is recorded whose message has ${what}`, async () => {
    const failure = Object.assign(new Error(message), { name: `Odd\n\0${"x".repeat(300)}` });
    const own = await processing({ describe: () => ({ category: 1, severity: 1, userMessage: `Sorry: ${message}` }) });
    for (const options of [await processing(), own]) {
      const error = await rejection(
        client.runTask(options, () => Promise.reject(failure)),
        TaskFailedError,
      );
      assert.equal(error.cause, failure);
      const task = await client.getTask({ sessionId: options.sessionId });
      assert.equal(task.status, SessionTask_Status.FAILED);
      const type = `Odd \ufffd${"x".repeat(249)}`; // 256 bytes.
      assert.deepEqual(task.failureContext, { message: recorded, type });
    }
    const [error] = await client.listErrors({ sessionId: own.sessionId }).toArray();
    assert.match(error?.userMessage ?? "", /^Sorry: /);
  });
}

for (const [what, describe] of [
  ["is refused", () => ({ category: 0, severity: 0, userMessage: "" })],
  ["cannot be sent", () => ({ category: 1, severity: 1, userMessage: "no", sessionID: "s1" })],
  [
    "throws",
    () => {
      throw new Error("no words");
    },
  ],
] as const) {
  test(`a description that ${what} is replaced by the usual one`, async () => {
    const options = await processing({ describe });
    const failure = new Error("disk full");
    const error = await rejection(
      client.runTask(options, () => Promise.reject(failure)),
      TaskFailedError,
    );
    assert.equal(error.cause, failure);
    assert.equal(error.task.status, SessionTask_Status.FAILED);
    const [recorded] = await client.listErrors({ sessionId: options.sessionId }).toArray();
    assert.deepEqual([recorded?.userMessage, recorded?.errorCode], ["processing failed.", "Error"]);
  });
}

test("a failure that cannot be recorded is told all the same", async () => {
  const options = await processing();
  const other = connect({ server: server.server });
  const failure = new Error("disk full");
  const error = await rejection(
    other.runTask(options, () => {
      other.close();
      throw failure;
    }),
    TaskFailedError,
  );
  assert.equal(error.cause, failure);
  assert.match(error.message, /disk full \(and that could not be recorded: The client is closed\.\)/);
});

test("a failure can be described in words of one's own", async () => {
  const options = await processing({
    describe: (failure) => ({ category: 1, severity: 1, userMessage: `Dear user: ${(failure as Error).message}` }),
  });
  await rejection(
    client.runTask(options, () => Promise.reject(new Error("too large"))),
    TaskFailedError,
  );
  const [error] = await client.listErrors({ sessionId: options.sessionId }).toArray();
  assert.equal(error?.userMessage, "Dear user: too large");
});

for (const [how, cancel] of [
  ["cancelled", (sessionId: string, taskId: string) => client.cancelTask({ sessionId, taskId })],
  ["stopped with its session", (sessionId: string) => client.stopSession({ sessionId })],
  ["deleted with its session", (sessionId: string) => client.deleteSession({ sessionId, force: true })],
] as const) {
  test(`work is told when its task is ${how}`, async () => {
    const options = await processing();
    const error = await rejection(
      client.runTask(options, async (task) => {
        await cancel(task.sessionId, task.taskId);
        await forever(task.signal);
      }),
      TaskCancelledError,
    );
    assert.equal(error.task.status, SessionTask_Status.CANCELLED);
  });
}

test("a task that somebody else failed or runs anew is lost, also to work that never looks", async () => {
  const options = await processing();
  const lost = client.runTask(options, async ({ sessionId, taskId, signal }) => {
    await client.failTask({ sessionId, taskId });
    await client.retryTask({ sessionId });
    await forever(signal);
  });
  assert.match((await rejection(lost, TaskLostError)).message, /Another run/);

  const other = await processing({ heartbeatIntervalMs: 10_000 });
  const blind = client.runTask(other, async ({ sessionId, taskId }) => {
    await client.failTask({ sessionId, taskId });
    return { tickets: 3 };
  });
  assert.match((await rejection(blind, TaskLostError)).message, /FAILED already/);
});

test("heartbeats keep a silent task alive", async () => {
  const options = await processing({ heartbeatTimeoutMs: 10_000, heartbeatIntervalMs: 1000 });
  const run = await client.runTask(options, () => new Promise((resolve) => setTimeout(resolve, 15_000)));
  assert.equal(run.task.status, SessionTask_Status.COMPLETED);
});

test("a completion that is refused fails the task, and rejects with the refusal", async () => {
  const options = await processing({ endStage: "completed" });
  const error = await rejection(
    client.runTask(options, () => ({})),
    FailedPreconditionError,
  );
  assert.equal(error.reason, ErrorReason.INVALID_TRANSITION);
  const task = await client.getTask({ sessionId: options.sessionId });
  assert.equal(task.status, SessionTask_Status.FAILED);
  assert.equal(task.failureContext?.["type"], "INVALID_TRANSITION");
});

test("a result that is too large fails the task, and rejects with the refusal", async () => {
  const options = await processing();
  const error = await rejection(
    client.runTask(options, () => ({ tickets: "x".repeat(70_000) })),
    InvalidArgumentError,
  );
  assert.match(error.message, /at most 65536 bytes/);
  const task = await client.getTask({ sessionId: options.sessionId });
  assert.equal(task.status, SessionTask_Status.FAILED);
  assert.deepEqual(task.failureContext, { message: error.message, type: "INVALID_FIELD" });
});

test("a worker that shuts down records that it did, and leaves the task to others", async () => {
  const shutdown = new AbortController();
  const options = await processing({ signal: shutdown.signal, attemptsMax: 5 });
  const error = await rejection(
    client.runTask(options, async (task) => {
      shutdown.abort(new Error("shutting down"));
      await forever(task.signal);
    }),
    TaskFailedError,
  );
  assert.deepEqual([error.attempts, error.task.retryable], [1, true]);
  assert.equal(error.task.failureContext?.["message"], "shutting down");
});

test("a start that is refused is a refusal, and no work is done", async () => {
  const refused = client.runTask({ sessionId: "0192f3c4-9f2e-7abc-8def-0123456789ab", taskType: "processing" }, () =>
    assert.fail("It was run."),
  );
  assert.equal((await rejection(refused, NotFoundError)).why, "NEVER_EXISTED");
});

test("keys of an update arrive as they are spelled", async () => {
  const { sessionId } = await processing();
  const session = await client.updateSession({
    session: { sessionId },
    setContext: { jira_project_key: "A_1" },
    setLabels: { "a.b": "x", c_1: "y" },
  });
  assert.deepEqual(session.context, { site_name: "Berlin", jira_project_key: "A_1" });
  assert.deepEqual(session.labels, { "a.b": "x", c_1: "y" });
  const without = await client.updateSession({
    session: { sessionId, labels: { c_1: "z" } },
    updateMask: ["labels.c_1"],
    removeContextKeys: ["jira_project_key"],
    removeLabelKeys: ["a.b"],
  });
  assert.deepEqual([without.context, without.labels], [{ site_name: "Berlin" }, { c_1: "z" }]);
});

test("sessions are imported and answered for in their order", async () => {
  async function* sessions() {
    for (let line = 1; line <= 300; line++) {
      const workflow = line === 7 ? "no_such_workflow" : "interview";
      const sessionId = `0192f3c4-9f2e-7abc-8def-${String(line).padStart(12, "0")}`;
      yield { line, session: { sessionId, workflow, ownerId: "ada", createTime: "2026-01-02T03:04:05.000006Z" } };
    }
  }
  const results = [];
  for await (const { line, result } of client.importSessions(sessions())) results.push([line, result]);
  assert.equal(results.length, 300);
  assert.deepEqual(
    results.map(([line]) => line),
    Array.from({ length: 300 }, (_, index) => index + 1),
  );
  assert.equal(results.filter(([, result]) => result === ImportSessionsResponse_Result.IMPORTED).length, 299);
  const session = await client.getSession({ sessionId: "0192f3c4-9f2e-7abc-8def-000000000001" });
  assert.equal(session.createTime?.toISOString(), "2026-01-02T03:04:05.000006Z");
  await rejection(
    (async () => {
      const broken = (function* () {
        yield { line: 1, session: { sessionId: "0192f3c4-9f2e-7abc-8def-000000000001", workflow: "interview" } };
        throw new RangeError("the file ends in the middle");
      })();
      for await (const { result } of client.importSessions(broken)) {
        assert.equal(result, ImportSessionsResponse_Result.ALREADY_THERE);
      }
    })(),
    RangeError,
  );
});

for (const [what, broken] of [
  ["a time that never was", { createTime: "2026-02-30T03:04:05Z" }],
  ["a field that does not exist", { create_time: "2026-01-02T03:04:05Z" }],
] as const) {
  test(`an import does not pass over a session with ${what}`, async () => {
    let closed = false;
    const sessions = (function* () {
      try {
        yield { line: 1, session: { workflow: "interview", ownerId: "ada" } };
        yield { line: 2, session: { workflow: "interview", ownerId: "ada", ...broken } };
        yield { line: 3, session: { workflow: "interview", ownerId: "ada" } };
      } finally {
        closed = true;
      }
    })();
    const answered: number[] = [];
    const reading = (async () => {
      for await (const { line } of client.importSessions(sessions)) answered.push(line);
    })();
    await assert.rejects(reading, /is no time|has no field/);
    assert.deepEqual([answered, closed], [[1], true]);
  });
}

test("a client's end ends its watches and calls; a daemon's end is UNAVAILABLE", async () => {
  const own = await startTestServer();
  const watching = (async (other: Client) => {
    for await (const item of other.watch()) if (item.type === "bookmark") setTimeout(() => other.close(), 10);
    return "ended";
  })(own.client);
  assert.equal(await watching, "ended");
  await own.stop();
  assert.equal(own.process.exitCode, 0);
  const late = connect({ server: own.server, timeoutMs: 200 });
  const error = await rejection(late.getServerInfo({}), SessiondError);
  assert.ok(error instanceof UnavailableError || error instanceof DeadlineExceededError);
  late.close();
});

test("states are enums, and what was told of calls names them", async () => {
  const { sessionId } = await processing();
  events.length = 0;
  const session = await client.pauseSession({ sessionId });
  assert.equal(session.state, Session_State.PAUSED);
  assert.deepEqual(
    events.map((event) => event.type === "call" && [event.method, event.sessionId, event.attempts]),
    [["sessiond.v1.SessionService/PauseSession", sessionId, 1]],
  );
});
