// Which hosts are this machine.

/** Whether what is sent to a host stays on this machine. An IPv6 address may have its brackets. */
export function isLoopback(host: string): boolean {
  // All of an address: 127.evil.example is a name, and so are 127.999.1.1 and 127.0.0.08.
  return /^(localhost|::1|\[::1\]|127(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})$/i.test(host);
}
