// The same layer on transports of one's own: in memory, and over fetch.
import assert from "node:assert/strict";
import { once } from "node:events";
import * as http from "node:http";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import type { JsonObject } from "@bufbuild/protobuf";
import { Code, type ConnectRouter, createRouterTransport, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import {
  createClient,
  FailedPreconditionError,
  InvalidArgumentError,
  SessionService,
  UnavailableError,
} from "../src/browser.js";
import { GrpcTransport } from "../src/node/transport.js";
import { draining, refusal, type WatchResponse } from "./fake.js";

const requestIds: string[] = [];
let stumbles = 0;
const routes = (router: ConnectRouter) =>
  router.service(SessionService, {
    pauseSession: ({ sessionId, requestId, reason }) => {
      requestIds.push(requestId);
      if (stumbles-- > 0) throw draining();
      if (reason === "refuse me") {
        throw refusal(Code.FailedPrecondition, "INVALID_TRANSITION", "USER_FIXABLE", { metadata: { from: "STOPPED" } });
      }
      return { sessionId, context: { deep: { list: [1, "a", null] } }, updateTime: { seconds: 1n, nanos: 2000 } };
    },
    updateSession: ({ updateMask }) => ({
      labels: Object.fromEntries((updateMask?.paths ?? []).map((path) => [path, ""])),
    }),
    watchSessions: async function* ({ resumeToken }): AsyncGenerator<WatchResponse> {
      yield { kind: { case: "bookmark", value: {} }, resumeToken: "t1" };
      if (resumeToken === "") throw draining();
      yield { kind: { case: "change", value: { event: { sequence: 2 } } }, resumeToken: "t2" };
    },
  });

const server = http.createServer(connectNodeAdapter({ routes })).listen(0, "127.0.0.1");
await once(server, "listening");
after(() => {
  server.closeAllConnections();
  server.close();
});
const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const grpc = http2.createServer(connectNodeAdapter({ routes })).listen(0, "127.0.0.1");
await once(grpc, "listening");
const { port } = grpc.address() as AddressInfo;
const overGrpc = new GrpcTransport({ host: "127.0.0.1", port }, undefined);
after(() => {
  overGrpc.close();
  grpc.close();
});

const transports: [string, Transport][] = [
  ["in memory", createRouterTransport(routes)],
  ["Connect with JSON", createConnectTransport({ baseUrl })],
  ["Connect, binary", createConnectTransport({ baseUrl, useBinaryFormat: true })],
  ["gRPC-Web", createGrpcWebTransport({ baseUrl })],
];

for (const [name, transport] of transports) {
  test(`calls, retries, refusals and a watch: ${name}`, async () => {
    const client = createClient({ transport, backoffInitialMs: 1 });
    requestIds.length = 0;
    stumbles = 1;
    const session = await client.pauseSession({ sessionId: "s1" });
    assert.equal(requestIds.length, 2);
    assert.equal(requestIds[0], requestIds[1]);
    assert.deepEqual(session.context, { deep: { list: [1, "a", null] } });
    assert.equal(session.updateTime?.toISOString(), "1970-01-01T00:00:01.000002Z");

    await assert.rejects(client.pauseSession({ sessionId: "s1", reason: "refuse me" }), (error) => {
      assert.ok(error instanceof FailedPreconditionError);
      assert.deepEqual([error.reasonName, error.metadata], ["INVALID_TRANSITION", { from: "STOPPED" }]);
      return true;
    });

    const seen: string[] = [];
    for await (const item of client.watch()) {
      seen.push(item.type);
      if (item.type === "change") break;
    }
    assert.deepEqual(seen, ["bookmark", "change"]);
    client.close();
  });
}

const circular: { itself?: JsonObject } = {};
circular.itself = circular as JsonObject;
for (const [name, transport] of [...transports, ["gRPC", overGrpc] as const]) {
  test(`a request that cannot be written is its sender's mistake: ${name}`, async () => {
    const retries: unknown[] = [];
    const client = createClient({ transport, onEvent: (event) => event.type === "retry" && retries.push(event) });
    for (const context of [circular, ...(name.endsWith("JSON") ? [{ share: NaN }] : [])] as JsonObject[]) {
      await assert.rejects(client.updateSession({ session: { sessionId: "s1" }, setContext: context }), (error) => {
        assert.ok(error instanceof InvalidArgumentError, String(error));
        assert.match(error.message, /^The request cannot be sent: ./);
        return true;
      });
    }
    assert.deepEqual(retries, []);
    client.close();
  });
}

test("a server that is not there is UNAVAILABLE over fetch, too", async () => {
  const gone = http.createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const { port } = gone.address() as AddressInfo;
  gone.close();
  await once(gone, "close");
  for (const make of [createConnectTransport, createGrpcWebTransport]) {
    // Not tried again: a pause would be longer than the deadline.
    const client = createClient({ transport: make({ baseUrl: `http://127.0.0.1:${port}` }), backoffInitialMs: 60_000 });
    await assert.rejects(client.pauseSession({ sessionId: "s1" }), UnavailableError);
  }
});
