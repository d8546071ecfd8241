// The task runner against a fake daemon, in memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { createClient, SessionTask_Status, TaskFailedError, TaskService } from "../src/index.js";

test("a description that was not answered is not sent a second time: it may have been taken", async () => {
  const told: (string | undefined)[] = [];
  const running = { sessionId: "s1", taskId: "t1", status: SessionTask_Status.RUNNING };
  const transport = createRouterTransport(({ service }) =>
    service(TaskService, {
      startTask: () => running,
      getTask: () => running,
      failTask: ({ error }) => {
        told.push(error?.userMessage);
        throw new ConnectError("lost", Code.Unavailable, { "grpc-retry-pushback-ms": "-1" });
      },
    }),
  );
  const client = createClient({ transport });
  const failure = new Error("disk full");
  const run = client.runTask({ sessionId: "s1", taskType: "export", describe: () => ({ userMessage: "mine" }) }, () =>
    Promise.reject(failure),
  );
  await assert.rejects(run, (error) => error instanceof TaskFailedError && error.cause === failure);
  assert.deepEqual(told, ["mine"]);
  client.close();
});
