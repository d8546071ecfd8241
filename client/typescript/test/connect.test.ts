// How people say where the daemon is, and what is refused before anything is sent.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createSecureServer } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { after, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { connect, fileTokens, NotFoundError, UnauthenticatedError, UnavailableError } from "../src/index.js";
import { isLoopback } from "../src/loopback.js";
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

for (const [host, here] of [
  ["localhost", true],
  ["LocalHost", true],
  ["127.0.0.1", true],
  ["127.255.255.254", true],
  ["::1", true],
  ["[::1]", true],
  ["127.evil.example", false],
  ["127.999.1.1", false],
  ["127.0.0.256", false],
  ["127.0.0.08", false],
  ["127.0.0.1.evil.example", false],
  ["127.0.0.1.", false],
  ["127.1", false],
  ["localhost.", false],
  ["localhost.evil.example", false],
  ["evil.localhost.example", false],
  ["::ffff:127.0.0.1", false],
  ["::1.evil.example", false],
  ["[::1", false],
  ["128.0.0.1", false],
  ["", false],
] as const) {
  test(`"${host}" is ${here ? "" : "not "}this machine`, () => assert.equal(isLoopback(host), here));
}

test("a token does not leave this machine for a name that looks like an address", () => {
  assert.throws(() => connect({ server: "127.evil.example:7377", token: "t" }), /127\.evil\.example unencrypted/);
});

for (const [what, prepare, why] of [
  ["is missing", async () => {}, /ENOENT/],
  ["cannot be read", (file: string) => mkdir(file), /EISDIR/],
  ["is empty", (file: string) => writeFile(file, " \n"), /is empty/],
  ["holds more than a token", (file: string) => writeFile(file, "Bearer s3cret\n"), /is no token/],
  ["holds what is no ASCII", (file: string) => writeFile(file, "s3crét\n"), /is no token/],
] as const) {
  test(`a token file that ${what} ends calls and watches at once, and is named`, async (t) => {
    const server = await new FakeServer().start();
    t.after(() => server.stop());
    const folder = await mkdtemp(join(tmpdir(), "sessiond-token-"));
    t.after(() => rm(folder, { recursive: true }));
    const file = join(folder, "token");
    await prepare(file);
    const retries: unknown[] = [];
    const client = server.client({
      tokenFile: file,
      onEvent: (event) => event.type === "retry" && retries.push(event),
    });
    t.after(() => client.close());
    for (const ends of [
      () => client.getSession({ sessionId: "s1" }),
      () => client.watch()[Symbol.asyncIterator]().next(),
    ]) {
      await assert.rejects(ends(), (error) => {
        assert.ok(error instanceof UnauthenticatedError, String(error));
        assert.ok(error.message.includes(file), error.message);
        assert.match(error.message, why);
        assert.doesNotMatch(error.message, /s3cr/);
        return true;
      });
    }
    assert.deepEqual([server.asked.length, server.watched.length, retries.length], [0, 0, 0]);
  });
}

test("while a token file is replaced, the last token is used", async (t) => {
  const server = await new FakeServer().start();
  t.after(() => server.stop());
  const folder = await mkdtemp(join(tmpdir(), "sessiond-token-"));
  t.after(() => rm(folder, { recursive: true }));
  const tokenFile = join(folder, "token");
  const client = server.client({ tokenFile });
  t.after(() => client.close());
  for (const step of [
    () => writeFile(tokenFile, "\ufeffone\r\n"), // With a byte-order mark.
    () => rm(tokenFile),
    () => writeFile(tokenFile, ""),
    () => writeFile(tokenFile, "two\n"),
  ]) {
    await step();
    await client.getSession({ sessionId: "s1" });
  }
  assert.deepEqual(
    server.asked.map(({ headers }) => headers.get("authorization")),
    ["Bearer one", "Bearer one", "Bearer one", "Bearer two"],
  );
});

for (const [name, options] of [
  ["server", { server: "" }],
  ["token", { token: "" }],
  ["tokenFile", { tokenFile: "" }],
  ["tls.ca", { tls: { ca: "" } }],
  ["tls.ca", { tls: { ca: Buffer.alloc(0) } }],
  ["tls.cert", { tls: { cert: "", key: "…" } }],
  ["tls.key", { tls: { cert: "…", key: "" } }],
  ["tls.serverName", { tls: { serverName: "" } }],
] as const) {
  test(`an empty ${name} is refused, and named: ${JSON.stringify(options)}`, () => {
    assert.throws(() => connect(options), { name: "TypeError", message: new RegExp(`^${name} is (empty|"")`) });
  });
}

test("a file for the place of a watch needs a name", () => {
  assert.throws(() => fileTokens(""), /The name of the file is empty/);
});

test("a certificate without its key is refused", () => {
  assert.throws(() => connect({ server: "localhost:1", tls: { cert: "…" } }), /tls\.key is missing/);
});

// Certificates and keys of this machine's openssl, and what is made of them.
const folder = await mkdtemp(join(tmpdir(), "sessiond-tls-"));
after(() => rm(folder, { recursive: true }));
function certificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  const self = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const named = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert];
  execFileSync("openssl", [...self, ...named], { stdio: "ignore" });
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}
const [ours, foreign] = [certificate("ours"), certificate("foreign")];
const trusted = execFileSync("openssl", ["x509", "-trustout"], { input: foreign.cert, encoding: "utf8" });
const locked = execFileSync("openssl", ["pkey", "-aes128", "-passout", "pass:x"], {
  input: ours.key,
  encoding: "utf8",
});
const mark = "\ufeff";

for (const [what, ca, before = ""] of [
  ["as it is", ours.cert],
  ["as bytes", Buffer.from(mark + ours.cert)],
  ["behind a byte-order mark", mark + ours.cert, mark],
  ["behind an empty line and a byte-order mark", `\n${mark}${ours.cert}`, `\n${mark}`],
  ["behind another, an empty line and a byte-order mark", `${foreign.cert}\n${mark}${ours.cert}`],
  ["behind a comment", `# A comment about -----BEGIN CERTIFICATE-----\n${ours.cert}`],
  ["with lines as on Windows", (foreign.cert + ours.cert).replaceAll("\n", "\r\n")],
  ["by its old name", ours.cert.replaceAll(" CERTIFICATE", " X509 CERTIFICATE")],
  ["behind one with OpenSSL's own additions", trusted + ours.cert],
] as [string, string | Buffer, string?][]) {
  test(`an authority is found ${what}, and so is a client's certificate`, async (t) => {
    const server = createSecureServer({ ...ours, ca: ours.cert, requestCert: true });
    let name: unknown;
    server.on("stream", (stream) => {
      name = (stream.session?.socket as TLSSocket).getPeerCertificate().subject.CN;
      stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "5" }, { endStream: true });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const tls = { ca, cert: before + ours.cert, key: before + ours.key };
    const client = connect({ server: `localhost:${port}`, tls, timeoutMs: 5000, backoffInitialMs: 60_000 });
    t.after(() => client.close());
    await assert.rejects(client.getSession({ sessionId: "s1" }), NotFoundError);
    assert.equal(name, "ours");
  });
}

for (const [what, ca, why] of [
  ["no PEM", "no certificate", /holds no certificate/],
  ["the name of a file", "/etc/ca.pem", /holds no certificate.*not the name of a file/],
  ["a key", ours.key, /holds no certificate/],
  ["DER", new X509Certificate(ours.cert).raw, /holds no certificate/],
  ["none but one with OpenSSL's own additions", trusted, /holds no certificate/],
  ["one behind a space", ` ${ours.cert}`, /has 1 .* and 0 /],
  ["one behind what nobody sees", `${ours.cert}\u00a0${foreign.cert}`, /has 2 .* and 1 /],
  ["a damaged one", ours.cert + foreign.cert.replace("-----\n", "-----\nAAAA"), /has 2 .* and 1 /],
  ["one without an end", ours.cert + foreign.cert.replace("-----END", ""), /has 2 .* and 1 /],
  ["one without an end before another", foreign.cert.replace("-----END", "") + ours.cert, /has 2 .* and 0 /],
  ["one behind another's last line", ours.cert.trimEnd() + foreign.cert, /has 1 .* and 0 /],
] as const) {
  test(`certificates are refused, by the argument's name, with ${what} among them`, () => {
    for (const [name, tls] of [
      ["tls.ca", { ca }],
      ["tls.cert", { cert: ca, key: ours.key }],
    ] as const) {
      assert.throws(() => connect({ server: "localhost:1", tls }), { name: "TypeError", message: why });
      assert.throws(() => connect({ server: "localhost:1", tls }), { message: new RegExp(`^${name} `) });
    }
  });
}

for (const [what, key, why] of [
  ["is no PEM", "no key", /^tls\.key cannot be used with tls\.cert: ./],
  ["is another's", foreign.key, /^tls\.key cannot be used with tls\.cert: .*mismatch/],
  ["is a certificate", ours.cert, /^tls\.key cannot be used with tls\.cert: ./],
  ["is locked with a passphrase", locked, /^tls\.key cannot be used with tls\.cert: ./],
] as const) {
  test(`a key that ${what} is refused at once`, () => {
    const tls = { cert: ours.cert, key };
    assert.throws(() => connect({ server: "localhost:1", tls }), { name: "TypeError", message: why });
  });
}

test("a certificate that OpenSSL does not use is refused at once", () => {
  const [cert, key] = [join(folder, "weak.pem"), join(folder, "weak.key")];
  const weak = ["req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=weak", "-keyout", key, "-out", cert];
  execFileSync("openssl", weak, { stdio: "ignore" });
  const tls = { cert: readFileSync(cert), key: readFileSync(key) };
  assert.throws(() => connect({ server: "localhost:1", tls }), {
    name: "TypeError",
    message: /^tls\.cert cannot be used: .*too small/,
  });
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
