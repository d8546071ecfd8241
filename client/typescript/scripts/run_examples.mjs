// Type-checks and runs the TypeScript of a page, as it stands there, where nothing but the package is installed:
//
//   node run_examples.mjs FOLDER TSC PAGE.md…
//
// All blocks of a page are one program. What it prints is compared with the block ```text behind the first of them, if
// there is one; times may differ. The daemon is a new one for each page.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, tsc, ...pages] = process.argv.slice(2).map((path) => resolve(path));
const { resolve: find } = createRequire(join(folder, "package.json"));
const { startTestServer } = await import(pathToFileURL(find("@sessiond/client/testing")).href);

for (const page of pages) {
  const text = readFileSync(page, "utf8");
  const blocks = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);
  assert.ok(blocks.length > 0, `${page} has no block of TypeScript`);
  const name = basename(page, ".md").toLowerCase();
  const source = join(folder, `${name}.mts`);
  writeFileSync(source, blocks.join("\n"));
  const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"];
  const typeRoots = ["--typeRoots", join(dirname(tsc), "../@types")];
  execFileSync(tsc, [...options, ...typeRoots, source], { cwd: folder, stdio: "inherit" });

  const server = await startTestServer();
  const program = spawnSync(process.execPath, [join(folder, `${name}.mjs`)], {
    cwd: folder,
    env: { ...process.env, SESSIOND_SERVER: server.server },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    timeout: 60_000,
  });
  await server.stop();
  assert.equal(program.status, 0, `${page} ended with ${program.status ?? program.signal}:\n${program.stdout}`);
  const expected = /^```text\n(.*?)^```$/ms.exec(text)?.[1];
  const timeless = (output) => output.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME");
  if (expected !== undefined) assert.equal(timeless(program.stdout), timeless(expected), page);
  console.log(`${basename(page)}: ${blocks.length} blocks, as they stand there`);
}
