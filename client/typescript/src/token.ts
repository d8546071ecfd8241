// Bearer tokens.

/** Throws a TypeError unless the text can be sent as a token. Nothing of it is in the message, which `what` begins. */
export function checkToken(text: string, what: string): void {
  if (text === "") throw new TypeError(`${what} is empty.`);
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new TypeError(
      `${what} is no token: that is one word of ASCII letters, digits and signs, without "Bearer" before it.`,
    );
  }
}
