// How people say where the daemon is, and what is refused before anything is sent.
import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { test } from "node:test";
import { connect, UnavailableError } from "../src/index.js";
import { parseAddress } from "../src/node/address.js";
import { startTestServer } from "../src/node/testing.js";
import { FakeServer } from "./fake.js";

test("an address is HOST:PORT, [IPV6]:PORT or a unix socket", () => {
  assert.deepEqual(parseAddress("localhost:7377", "server"), { host: "localhost", port: 7377 });
  assert.deepEqual(parseAddress("[::1]:1", "server"), { host: "::1", port: 1 });
  assert.equal(parseAddress("unix:/run/s.sock", "server").path, "/run/s.sock");
  assert.equal(parseAddress("unix:///run/s.sock", "server").path, "/run/s.sock");
});

for (const bad of [
  "",
  "localhost",
  "localhost:",
  ":7377",
  "localhost:0",
  "localhost:65536",
  "::1:7377",
  "[x]:1",
  "unix:",
]) {
  test(`"${bad}" is no address, and what is wanted is said`, () => {
    assert.throws(() => parseAddress(bad, "server"), /server is ".*HOST:PORT, for example 127\.0\.0\.1:7377/);
  });
}

test("a URL is refused with a word on encryption", () => {
  assert.throws(() => connect({ server: "https://localhost:7377" }), /a URL.*`tls`/);
});

test("the environment says what is not given", async (t) => {
  const server = await new FakeServer().start();
  t.after(() => server.stop());
  const folder = await mkdtemp(join(tmpdir(), "sessiond-token-"));
  const file = join(folder, "token");
  await writeFile(file, "one\n");
  process.env["SESSIOND_SERVER"] = server.address;
  process.env["SESSIOND_TOKEN_FILE"] = file;
  const client = connect();
  delete process.env["SESSIOND_SERVER"];
  delete process.env["SESSIOND_TOKEN_FILE"];
  await client.getSession({ sessionId: "s1" });
  await writeFile(file, "two\n");
  await client.getSession({ sessionId: "s1" });
  assert.deepEqual(
    server.asked.map(({ headers }) => headers.get("authorization")),
    ["Bearer one", "Bearer two"],
  );
  client.close();
  await rm(folder, { recursive: true });
});

test("a token does not leave this machine unencrypted", () => {
  assert.throws(() => connect({ server: "example.com:7377", token: "t" }), /example\.com unencrypted.*`tls`/);
  connect({ server: "example.com:7377", token: "t", tls: true }).close();
  connect({ server: "127.0.0.1:7377", token: "t" }).close();
});

test("a certificate without its key is refused", () => {
  assert.throws(() => connect({ server: "localhost:1", tls: { cert: "…" } }), /tls\.key is missing/);
});

test("a unix socket is spoken to", async (t) => {
  const server = await new FakeServer().start();
  t.after(() => server.stop());
  const folder = await mkdtemp(join(tmpdir(), "sessiond-socket-"));
  const relay = createServer((socket) => {
    const [host, port] = server.address.split(":");
    const on = connectSocket(Number(port), host);
    socket.pipe(on).pipe(socket);
    for (const end of [socket, on]) end.on("error", () => {});
  }).listen(join(folder, "s"));
  t.after(() => relay.close());
  await once(relay, "listening");
  const client = connect({ server: `unix:${join(folder, "s")}` });
  assert.equal((await client.getSession({ sessionId: "s1" })).sessionId, "s1");
  client.close();
  await rm(folder, { recursive: true });
});

test("an authority that is not the daemon's is UNAVAILABLE, with the reason", async (t) => {
  const server = await new FakeServer().start();
  t.after(() => server.stop());
  // Not tried again: a pause would be longer than the deadline.
  const client = connect({ server: server.address, tls: true, backoffInitialMs: 60_000 });
  await assert.rejects(client.getSession({ sessionId: "s1" }), UnavailableError); // It does not speak TLS at all.
  client.close();
});

test("a test server that does not come up says why", async () => {
  await assert.rejects(startTestServer({ binary: "/no/such/sessiond" }), /cannot be started.*SESSIOND_BINARY/);
  const folder = await mkdtemp(join(tmpdir(), "sessiond-broken-"));
  const binary = join(folder, "sessiond");
  await writeFile(binary, "#!/bin/sh\necho no disk left >&2\nexit 3\n");
  await chmod(binary, 0o755);
  await assert.rejects(startTestServer({ binary }), /ended with 3 before it was ready\.\nno disk left/);
  await rm(folder, { recursive: true });
});
