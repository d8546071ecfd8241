// Where a daemon listens, as people write it.
import * as net from "node:net";
import { isLoopback } from "../loopback.js";

export interface Address {
  readonly host: string;
  readonly port: number;
  /** Of a unix socket; host and port mean nothing then. */
  readonly path?: string;
}

/** Reads `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`. Throws a TypeError that says what is wanted. */
export function parseAddress(text: string, from: string): Address {
  const wanted = "HOST:PORT, for example 127.0.0.1:7377, or unix:/path/of/a/socket";
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
    if (path === "") throw new TypeError(`${from} is "${text}", which names no socket; it has to be ${wanted}.`);
    return { host: "localhost", port: 0, path };
  }
  if (/^[a-z]+:\/\//i.test(text)) {
    throw new TypeError(`${from} is "${text}", a URL; it has to be ${wanted}. Encryption is asked for by \`tls\`.`);
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const ipv6 = match?.[1];
  if (match === null || port < 1 || port > 65535 || (ipv6 !== undefined && !net.isIPv6(ipv6))) {
    throw new TypeError(`${from} is "${text}"; it has to be ${wanted}.`);
  }
  return { host: ipv6 ?? match[2] ?? "", port };
}

/** Whether what is sent there stays on this machine. */
export function isLocal({ host, path }: Address): boolean {
  return path !== undefined || isLoopback(host);
}
