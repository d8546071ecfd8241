// Which hosts are this machine.

/** Whether what is sent to a host stays on this machine. An IPv6 address may have its brackets. */
export function isLoopback(host: string): boolean {
  // All of an address: 127.evil.example is a name.
  return /^(localhost|::1|\[::1\]|127(\.\d{1,3}){3})$/i.test(host);
}
