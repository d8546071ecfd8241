// Connecting from a page: the Connect protocol over `fetch`, to the daemon's HTTP port or to a proxy in front of it.
import { createConnectTransport } from "@connectrpc/connect-web";
import type { CallerOptions } from "../call.js";
import { type Client, createClient } from "../client.js";
import { isLoopback } from "../loopback.js";

export interface ConnectOptions extends CallerOptions {
  /**
   * Where the daemon's HTTP port is, or a proxy that passes on to it: `https://sessiond.example`, or a path of the page's
   * own server, `/sessiond`. To pages of another server the daemon answers only with `--http-allow-origins`.
   */
  readonly url: string;
  /** JSON on the wire, to be read in a browser's tools. Unlike Protobuf's binary form it changes masks that have keys. */
  readonly json?: boolean | undefined;
  /** Another `fetch`, for example one that sends cookies to a proxy. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A client of the daemon at a URL. */
export function connect(options: ConnectOptions): Client {
  const { url, json, fetch = globalThis.fetch, ...rest } = options;
  const base = parseUrl(url);
  if (rest.token !== undefined && base.protocol !== "https:" && !isLoopback(base.hostname)) {
    throw new TypeError(
      `A token would be sent to ${base.host} unencrypted, for all to read: use https, or leave the token out.`,
    );
  }
  const transport = createConnectTransport({
    baseUrl: base.href.replace(/\/$/, ""),
    useBinaryFormat: json !== true,
    fetch: withReasons(fetch, base),
  });
  return createClient({ ...rest, transport });
}

function parseUrl(text: string): URL {
  const page = globalThis.location?.href;
  const wanted = `a URL such as https://sessiond.example${page === undefined ? "" : ", or a path such as /sessiond"}`;
  let url: URL;
  try {
    url = new URL(text, page);
  } catch (cause) {
    throw new TypeError(`url is "${text}"; it has to be ${wanted}.`, { cause });
  }
  if (text === "" || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "" || url.username !== "") {
    throw new TypeError(`url is "${text}"; it has to be ${wanted}, without a user, a query or a fragment.`);
  }
  return url;
}

// `fetch` says no more than that it failed. Browsers do not tell a page that is not let in from a server that is not
// there, so the error names both.
function withReasons(fetch: typeof globalThis.fetch, base: URL): typeof globalThis.fetch {
  return async (input, init) => {
    try {
      return await fetch(input, init);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // An AbortError.
      const page = globalThis.location?.origin;
      const because =
        page !== undefined && page !== base.origin
          ? `${base.origin} cannot be reached, or does not let in pages of ${page} (--http-allow-origins)`
          : `${base.origin} cannot be reached`;
      const cause = error.cause instanceof Error ? `, ${error.cause.message}` : "";
      throw new TypeError(`${error.message}: ${because}${cause}`, { cause: error });
    }
  };
}
