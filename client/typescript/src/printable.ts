// Text from anywhere, for the daemon.

/**
 * The beginning of a text as the daemon takes it, in at most so many bytes of UTF-8: a replacement character stands for
 * each control character but newlines and tabs, and for each half of a character.
 */
export function printable(text: string, bytesMax: number): string {
  // A character has a byte at least.
  const printed = text.slice(0, bytesMax).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]|\p{Cs}/gu, "\ufffd");
  // It reads whole characters only.
  const { read } = new TextEncoder().encodeInto(printed, new Uint8Array(bytesMax));
  return printed.slice(0, read);
}
