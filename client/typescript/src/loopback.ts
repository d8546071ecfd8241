// Which hosts are this machine.

/** Whether what is sent to a host stays on this machine. An IPv6 address may have its brackets. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || /^\[?::1\]?$/.test(host) || /^127\./.test(host);
}
