// The task runner against a fake daemon, in memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import {
  createClient,
  FailedPreconditionError,
  InvalidArgumentError,
  type RunningTask,
  type RunTaskOptions,
  SessiondError,
  SessionError_Category,
  SessionTask_Status,
  TaskCancelledError,
  TaskFailedError,
  TaskService,
} from "../src/index.js";
import { refusal } from "./fake.js";

// What passes by itself, and is not tried again by the call.
const passing: [string, () => ConnectError][] = [
  ["RESOURCE_EXHAUSTED", () => refusal(Code.ResourceExhausted, "RATE_LIMITED", "TEMPORARY")],
  ["UNAVAILABLE", () => new ConnectError("lost", Code.Unavailable, { "grpc-retry-pushback-ms": "-1" })],
  ["DEADLINE_EXCEEDED", () => new ConnectError("late", Code.DeadlineExceeded)],
];
const circular: { itself?: object } = {};
circular.itself = circular;

// A daemon with one task. It answers the calls that end it, or run it again, as told, and remembers what it was asked.
class Fake {
  status = SessionTask_Status.RUNNING;
  taskId = "t1";
  complete: () => void = () => {};
  fail: () => void = () => {};
  /** Called with what runs the task again, which is up to it. */
  retry: (again: () => void) => void = (again) => again();
  /** The calls behind StartTask; of FailTask with what it was told. */
  readonly asked: unknown[] = [];
  runs = 0;

  async run(
    work: (task: RunningTask) => Promise<JsonObject> | JsonObject,
    options: Partial<RunTaskOptions> = {},
  ): Promise<unknown> {
    const task = () => ({
      sessionId: "s1",
      taskId: this.taskId,
      status: this.status,
      maxRetries: 9,
      retryable: true,
    });
    const transport = createRouterTransport(({ service }) =>
      service(TaskService, {
        startTask: task,
        reportTaskProgress: () => {
          if (this.status !== SessionTask_Status.RUNNING) {
            throw refusal(Code.FailedPrecondition, "TASK_NOT_RUNNING", "USER_FIXABLE");
          }
          return task();
        },
        getTask: () => {
          this.asked.push("get");
          return task();
        },
        completeTask: () => {
          this.asked.push("complete");
          this.complete();
          return task();
        },
        failTask: ({ taskId, error }) => {
          this.asked.push(["fail", error?.userMessage, SessionError_Category[error?.category ?? 0]]);
          if (taskId !== this.taskId) throw refusal(Code.FailedPrecondition, "STALE_TASK", "USER_FIXABLE");
          this.fail();
          this.status = SessionTask_Status.FAILED;
          return task();
        },
        retryTask: ({ taskId }) => {
          this.asked.push("retry");
          this.retry(() => {
            this.taskId = taskId || "one that the daemon draws";
            this.status = SessionTask_Status.RUNNING;
          });
          return task();
        },
      }),
    );
    const client = createClient({ transport });
    const counted = (running: RunningTask) => {
      this.runs++;
      return work(running);
    };
    try {
      return await client.runTask({ sessionId: "s1", taskType: "export", attemptsMax: 3, ...options }, counted);
    } catch (error) {
      return error;
    } finally {
      client.close();
    }
  }
}

for (const [code, make] of passing) {
  for (const [what, status] of [
    ["has taken effect", SessionTask_Status.COMPLETED],
    ["may be taken in a moment", SessionTask_Status.RUNNING],
  ] as const) {
    test(`a completion that ${what} is nobody's failure: ${code}`, async () => {
      const fake = new Fake();
      fake.complete = () => {
        fake.status = status;
        throw make();
      };
      const error = await fake.run(() => ({ pages: 3 }));
      assert.ok(error instanceof SessiondError, String(error));
      assert.equal(error.code, code);
      assert.deepEqual([fake.runs, fake.asked], [1, ["complete"]]);
    });
  }

  test(`a description that may be taken yet is not sent a second time: ${code}`, async () => {
    const fake = new Fake();
    fake.fail = () => {
      throw make();
    };
    const failure = new Error("disk full");
    const error = await fake.run(() => Promise.reject(failure), { describe: () => ({ userMessage: "mine" }) });
    assert.ok(error instanceof TaskFailedError && error.cause === failure, String(error));
    assert.deepEqual(
      fake.asked.filter((call) => call !== "get"),
      [["fail", "mine", "CATEGORY_UNSPECIFIED"]],
    );
  });
}

test("work whose completion is refused for good is not run again", async () => {
  const fake = new Fake();
  fake.complete = () => {
    throw refusal(Code.FailedPrecondition, "INVALID_TRANSITION", "USER_FIXABLE");
  };
  const error = await fake.run(() => ({ pages: 3 }));
  assert.ok(error instanceof FailedPreconditionError, String(error));
  assert.deepEqual([fake.runs, fake.asked], [1, ["complete", "get", ["fail", "export failed.", "ADMIN_REQUIRED"]]]);
});

for (const [what, result] of [
  ["refers to itself", circular],
  ["is no object", 5],
  ["has half of a character", { pages: ["\ud800"] }],
  [
    "throws",
    {
      get pages() {
        throw new Error("no pages");
      },
    },
  ],
] as const) {
  test(`work whose result cannot be sent is not run again: it ${what}`, async () => {
    const fake = new Fake();
    const error = await fake.run(() => result as unknown as JsonObject);
    assert.ok(error instanceof InvalidArgumentError, String(error));
    assert.deepEqual([fake.runs, fake.asked], [1, ["get", ["fail", "export failed.", "ADMIN_REQUIRED"]]]);
  });
}

test("details that cannot be sent are replaced by the usual ones", async () => {
  const fake = new Fake();
  const describe = () => ({ userMessage: "mine", technicalDetails: circular as JsonObject });
  const error = await fake.run(() => Promise.reject(new Error("disk full")), { describe, attemptsMax: 1 });
  assert.ok(error instanceof TaskFailedError, String(error));
  assert.deepEqual(
    fake.asked.filter((call) => call !== "get"),
    [["fail", "export failed.", "ADMIN_REQUIRED"]],
  );
});

test("work that failed is run again, also when it failed as a call does that passes by itself", async () => {
  const fake = new Fake();
  const error = await fake.run(() => Promise.reject(new SessiondError({ code: "UNAVAILABLE", message: "later" })));
  assert.ok(error instanceof TaskFailedError, String(error));
  assert.equal(fake.runs, 3);
});

test("between two runs of the work there is a pause, which grows", async () => {
  const fake = new Fake();
  const runs: number[] = [];
  await fake.run(() => {
    runs.push(performance.now());
    throw new Error("disk full");
  });
  const pauses = runs.slice(1).map((at, index) => at - (runs[index] ?? 0));
  // Half of 100 ms at least, and then of 200; timers may be a millisecond early.
  assert.ok(pauses.length === 2 && (pauses[0] ?? 0) >= 49 && (pauses[1] ?? 0) >= 99, String(pauses));
});

test("a worker that is stopped in the pause leaves its task to be retried", async () => {
  const fake = new Fake();
  const stop = new AbortController();
  fake.fail = () => stop.abort();
  const failure = new Error("disk full");
  const error = await fake.run(() => Promise.reject(failure), { signal: stop.signal });
  assert.ok(error instanceof TaskFailedError && error.cause === failure, String(error));
  assert.deepEqual([error.retryError, fake.asked.includes("retry")], [undefined, false]);
});

test("a retry that is refused does not hide why the work failed", async () => {
  const fake = new Fake();
  fake.retry = () => {
    throw refusal(Code.FailedPrecondition, "SESSION_NOT_ACTIVE", "USER_FIXABLE");
  };
  const failure = new Error("disk full");
  const error = await fake.run(() => Promise.reject(failure));
  assert.ok(error instanceof TaskFailedError && error.cause === failure, String(error));
  assert.ok(error.retryError instanceof FailedPreconditionError, String(error.retryError));
  assert.equal(
    error.message,
    "The task failed: disk full (and it could not be run again: It is refused: SESSION_NOT_ACTIVE.)",
  );
  assert.deepEqual([error.attempts, error.task.status, fake.asked.at(-1)], [1, SessionTask_Status.FAILED, "retry"]);
});

for (const [code, make] of passing) {
  for (const takesEffect of [true, false]) {
    const what = takesEffect ? "that has taken effect" : "without effect";
    test(`a retry ${what} but no answer leaves no task RUNNING: ${code}`, async () => {
      const fake = new Fake();
      fake.retry = (again) => {
        if (takesEffect) again();
        throw make();
      };
      const failure = new Error("disk full");
      const error = await fake.run(() => Promise.reject(failure));
      assert.ok(error instanceof TaskFailedError && error.cause === failure, String(error));
      assert.equal((error.retryError as SessiondError).code, code);
      assert.deepEqual([fake.runs, fake.status], [1, SessionTask_Status.FAILED]);
      assert.deepEqual(fake.asked.at(-1), ["fail", "export was not run again.", "TEMPORARY"]);
      assert.deepEqual([error.task.taskId, error.task.status], [fake.taskId, SessionTask_Status.FAILED]);
    });
  }
}

test("a worker that is stopped while its task is being retried leaves no task RUNNING", async () => {
  const fake = new Fake();
  const stop = new AbortController();
  fake.retry = (again) => {
    again();
    stop.abort();
  };
  const failure = new Error("disk full");
  const error = await fake.run(() => Promise.reject(failure), { signal: stop.signal });
  assert.ok(error instanceof TaskFailedError && error.cause === failure, String(error));
  assert.deepEqual([fake.runs, fake.status], [1, SessionTask_Status.FAILED]);
});

test("a task that is known to be cancelled is not completed by work that never looks", async () => {
  const fake = new Fake();
  fake.complete = () => {
    throw new ConnectError("lost", Code.Unavailable, { "grpc-retry-pushback-ms": "-1" });
  };
  const error = await fake.run(
    async ({ signal }) => {
      fake.status = SessionTask_Status.CANCELLED;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return { pages: 3 };
    },
    { heartbeatIntervalMs: 1 },
  );
  assert.ok(error instanceof TaskCancelledError, String(error));
  assert.deepEqual(fake.asked, ["get"]);
});
