// Text from anywhere, as the daemon takes it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { printable } from "../src/printable.js";

for (const [what, text, bytesMax, printed] of [
  ["plain text is left as it is", "Grüße,\n\tAda 🖨", 100, "Grüße,\n\tAda 🖨"],
  ["control characters are replaced", "\0a\x1b[1m\r\x7f\x85", 100, "\ufffda\ufffd[1m\ufffd\ufffd\ufffd"],
  ["halves of characters are replaced", "\ud83da\udda8", 100, "\ufffda\ufffd"],
  ["what fits is left whole", "äbc", 4, "äbc"],
  ["bytes are counted, not characters", "ääää", 4, "ää"],
  ["no character is cut through", "aää", 4, "aä"],
  ["no pair is cut through", "ab🖨", 5, "ab"],
  ["nothing is nothing", "", 4, ""],
] as const) {
  test(`${what}: ${JSON.stringify(text)}`, () => assert.equal(printable(text, bytesMax), printed));
}
