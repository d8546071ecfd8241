// Bundles the page and serves it:
//
//   npm run example -- [PORT]
//
// The package has to be built. The daemon lets the page in with --http-allow-origins http://127.0.0.1:PORT.
import { readFile } from "node:fs/promises";
import * as http from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = new URL(".", import.meta.url);
const types = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript" };

/** Serves the page at a port of this machine; 0 takes a free one. */
export async function serve(port) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("main.ts", folder))],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    logLevel: "warning",
  });
  const files = {
    "/": ["html", await readFile(new URL("index.html", folder))],
    "/live.css": ["css", await readFile(new URL("live.css", folder))],
    "/main.js": ["js", outputFiles[0].contents],
  };
  const server = http.createServer((request, response) => {
    const [type, content] = files[new URL(request.url, "http://page").pathname] ?? [];
    if (content === undefined) return response.writeHead(404).end("There is nothing here.\n");
    response.writeHead(200, { "content-type": types[type], "cache-control": "no-store" }).end(content);
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return { origin, close: () => server.closeAllConnections() ?? server.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { origin } = await serve(Number(process.argv[2] ?? 8080));
  console.log(`${origin}/?session=ID\nThe daemon: sessiond serve --http-allow-origins ${origin}`);
}
