// Connecting on Node: address, encryption and credentials, with the environment's for what is not given.
import { open, readFile, rename } from "node:fs/promises";
import type { ConnectionOptions } from "node:tls";
import type { CallerOptions } from "../call.js";
import { type Client, createClient } from "../client.js";
import { checkToken } from "../token.js";
import type { TokenStore } from "../watch.js";
import { isLocal, parseAddress } from "./address.js";
import { certificatesOf, pairOf } from "./pem.js";
import { GrpcTransport } from "./transport.js";

/** Encryption. Each of ca, cert and key is PEM: the text or bytes, not the name of a file. */
export interface TlsOptions {
  /** Who may have signed the daemon's certificate; the system's authorities unless said otherwise. */
  readonly ca?: string | Buffer | undefined;
  /** This client's certificate and its key, where the daemon asks for one (mutual TLS). */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  /** The name that the daemon's certificate has to carry; the host of the address unless said otherwise. */
  readonly serverName?: string | undefined;
}

export interface ConnectOptions extends CallerOptions {
  /** `HOST:PORT` or `unix:/path`. Without it SESSIOND_SERVER of the environment, else 127.0.0.1:7377. */
  readonly server?: string | undefined;
  /** Encryption: `true` for the system's authorities. Without it nothing is encrypted. */
  readonly tls?: boolean | TlsOptions | undefined;
  /**
   * The file with the token, read anew for every attempt; while there is none in it, the last one is used. Without it,
   * and without `token`, SESSIOND_TOKEN_FILE of the environment.
   */
  readonly tokenFile?: string | undefined;
}

/** A client of the daemon at an address. It connects with the first call. */
export function connect(options: ConnectOptions = {}): Client {
  const { server, tls, tokenFile, ...rest } = options;
  refuseEmpty(tokenFile, "tokenFile");
  const fromEnvironment = process.env["SESSIOND_SERVER"] || undefined;
  const address =
    server !== undefined
      ? parseAddress(server, "server")
      : parseAddress(fromEnvironment ?? "127.0.0.1:7377", "SESSIOND_SERVER");
  const encrypted = tls !== undefined && tls !== false;
  const token = rest.token ?? tokenIn(tokenFile ?? (process.env["SESSIOND_TOKEN_FILE"] || undefined));
  if (token !== undefined && !encrypted && !isLocal(address)) {
    throw new TypeError(
      `A token would be sent to ${address.host} unencrypted, for all to read: set \`tls\`, or leave the token out.`,
    );
  }
  const transport = new GrpcTransport(address, encrypted ? tlsOptions(tls) : undefined);
  return createClient({ ...rest, token, transport, onClose: () => transport.close() });
}

function tlsOptions(tls: true | TlsOptions): ConnectionOptions {
  if (tls === true) return {};
  for (const name of ["ca", "cert", "key", "serverName"] as const) refuseEmpty(tls[name], `tls.${name}`);
  const { ca, cert, key, serverName } = tls;
  if ((cert === undefined) !== (key === undefined)) {
    const missing = cert === undefined ? "cert" : "key";
    throw new TypeError(`tls.${missing} is missing: a client's certificate and its key go together.`);
  }
  return {
    ...(ca !== undefined && { ca: certificatesOf(ca, "tls.ca") }),
    ...(cert !== undefined && key !== undefined && pairOf({ cert, key })),
    ...(serverName !== undefined && { servername: serverName }),
  };
}

// What is empty is a mistake, such as a variable that is not set: it does not mean the same as what is left out.
function refuseEmpty(given: string | Buffer | undefined, name: string): void {
  if (given?.length === 0) throw new TypeError(`${name} is empty.`);
}

function tokenIn(file: string | undefined): (() => Promise<string>) | undefined {
  if (file === undefined) return undefined;
  let last: string | undefined;
  return async () => {
    try {
      last = await readToken(file);
    } catch (error) {
      // Whoever replaces the file may take it away for a moment.
      if (last === undefined) throw error;
    }
    return last;
  };
}

async function readToken(file: string): Promise<string> {
  const token = await readWord(file).catch((cause: Error) => {
    throw new Error(`The token file ${file} cannot be read: ${cause.message}`, { cause });
  });
  checkToken(token, `The token file ${file}`);
  return token;
}

// What is in a file, without the white space around it, and without a byte-order mark, which trim takes for such.
async function readWord(file: string): Promise<string> {
  return (await readFile(file, "utf8")).trim();
}

/** Keeps the place of a watch in a file, which is replaced as a whole: a crash leaves the old place or the new one. */
export function fileTokens(file: string): TokenStore {
  refuseEmpty(file, "The name of the file");
  return {
    load: () =>
      readWord(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw error;
      }),
    async save(token) {
      const beside = await open(`${file}.new`, "w");
      try {
        await beside.writeFile(token);
        await beside.sync(); // Before it replaces the old place: else a crash could leave an empty file.
      } finally {
        await beside.close();
      }
      await rename(`${file}.new`, file);
    },
  };
}
