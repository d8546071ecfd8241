// The example of a page, in a real Chromium, from another origin than the daemon's. CHROMIUM says where that is, unless
// it is on the PATH.
import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { startTestServer, type TestServer } from "../src/node/testing.js";

const program = findChromium();
const skip = program === undefined ? "Chromium is not here: apt-get install chromium" : false;

function findChromium(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const candidates = ["chromium", "google-chrome", "chromium-browser"].flatMap((name) =>
    folders.map((folder) => join(folder, name)),
  );
  return [process.env["CHROMIUM"] ?? [], candidates].flat().find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

interface Site {
  readonly origin: string;
  close(): void;
}
// The example's own server.
const { serve } = (await import(new URL("../../examples/live/serve.mjs", import.meta.url).href)) as {
  serve(port: number): Promise<Site>;
};

const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

async function start(): Promise<[allowed: Site, other: Site, server: TestServer, browser: Browser]> {
  const allowed = await serve(0);
  const other = await serve(0);
  ends.push(
    () => allowed.close(),
    () => other.close(),
  );
  const server = await startTestServer({ args: ["--http-allow-origins", allowed.origin] });
  ends.push(() => server.stop());
  const browser = await chromium.launch({
    executablePath: program as string,
    // As root there is no sandbox; and it is not to ask anybody else for anything.
    args: ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"],
  });
  ends.push(() => browser.close());
  return [allowed, other, server, browser];
}

// Waits until an element of the page says what is expected.
async function says(page: Page, id: string, text: RegExp): Promise<void> {
  await page.locator(`#${id}`).filter({ hasText: text }).waitFor({ state: "visible", timeout: 20_000 });
}

// Waits until it shows so many events, and no more.
async function shows(page: Page, events: number): Promise<void> {
  await page
    .locator("#events li")
    .nth(events - 1)
    .waitFor({ timeout: 20_000 });
  assert.equal(await page.locator("#events li").count(), events);
}

test("a page of an allowed origin shows a session live; one of another origin is refused", { skip }, async () => {
  const [allowed, other, server, browser] = await start();
  const { client } = server;
  const { sessionId } = await client.createSession({
    session: { workflow: "ticket_export", ownerId: "ada", ownerDisplayName: "Ada Lovelace" },
    actor: "ada",
  });
  const query = `?url=http://${server.http}&session=${sessionId}`;
  const page = await browser.newPage({ viewport: { width: 820, height: 900 } });
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));

  await page.goto(`${allowed.origin}/${query}`);
  await says(page, "connection", /^live$/);
  await says(page, "stage", /^Site information$/);
  await says(page, "owner", /^Ada Lovelace$/);
  await shows(page, 1); // CREATED.

  await client.advanceSession({ sessionId, targetStage: "upload", actor: "ada", reason: "all is said" });
  await says(page, "stage", /^Upload$/);
  await page.locator("#events li:first-child", { hasText: "site info collection → upload" }).waitFor();

  const { taskId } = await client.startTask({ sessionId, taskType: "processing", advanceToStage: "processing" });
  await says(page, "stage", /^Processing$/);
  await says(page, "task-status", /^running$/);
  await client.reportTaskProgress({ sessionId, taskId, progress: { pages: 3, of: 7 } });
  await says(page, "task-detail", /"pages":3/);
  if (process.env["SCREENSHOT"]) await page.screenshot({ path: process.env["SCREENSHOT"] });
  await client.completeTask({ sessionId, taskId, result: { tickets: 3 }, advanceToStage: "review" });
  await says(page, "stage", /^Review$/);
  await says(page, "task-status", /^completed$/);
  await shows(page, (await client.getSession({ sessionId })).sequence);
  assert.deepEqual(complaints, []);

  const refused = await browser.newPage();
  await refused.goto(`${other.origin}/${query}`);
  await says(refused, "refusal", /does not let in pages of http:\/\/127\.0\.0\.1:\d+ \(--http-allow-origins\)/);
  assert.equal(await refused.locator("#live").isVisible(), false);
});
