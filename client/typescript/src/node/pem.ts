// Certificates and keys in PEM, checked before they are used: Node passes over an authority that it cannot read, and
// then trusts nobody.
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";

// A line that a certificate was meant to begin with: something that nobody sees may stand before it.
const BEGINS = /^[^!-~]*-----BEGIN (X509 )?CERTIFICATE-/;
const CERTIFICATE = /^-----BEGIN (X509 |)CERTIFICATE-----[ \t\r]*\n.*?^-----END \1CERTIFICATE-----[ \t\r]*$/gms;

/** The certificates. Throws a TypeError, which `name` begins, when one of them cannot be read, or there is none. */
export function certificatesOf(pem: string | Buffer, name: string): string {
  const text = textOf(pem);
  const begun = text.split(/[\r\n]/).filter((line) => BEGINS.test(line)).length;
  if (begun === 0) {
    throw new TypeError(
      `${name} holds no certificate: it has no line -----BEGIN CERTIFICATE-----. ` +
        "It has to be PEM, the text or bytes, not the name of a file.",
    );
  }
  const read = (text.match(CERTIFICATE) ?? []).flatMap(readCertificate);
  if (read.length !== begun) {
    throw new TypeError(
      `${name} has ${begun} lines -----BEGIN CERTIFICATE-----, and ${read.length} certificates that can be read: ` +
        "such a line begins at the left, with nothing before or behind it.",
    );
  }
  // What was checked, and nothing beside it.
  return read.join("");
}

/** A client's certificate and its key, which can be used together. Throws a TypeError otherwise. */
export function pairOf(pem: { cert: string | Buffer; key: string | Buffer }): { cert: string; key: string } {
  const cert = certificatesOf(pem.cert, "tls.cert");
  const key = textOf(pem.key);
  check("tls.cert cannot be used", { cert });
  check("tls.key cannot be used with tls.cert", { cert, key });
  return { cert, key };
}

function check(what: string, pair: { cert: string; key?: string }): void {
  try {
    createSecureContext(pair);
  } catch (cause) {
    throw new TypeError(`${what}: ${(cause as Error).message}`, { cause });
  }
}

// Without the byte-order marks of the files that it was put together from: OpenSSL passes over a block behind one,
// unless that is the first line that it looks at.
function textOf(pem: string | Buffer): string {
  return (typeof pem === "string" ? pem : Buffer.from(pem).toString()).replace(/^\ufeff+/gm, "");
}

function readCertificate(block: string): string[] {
  try {
    return [new X509Certificate(block).toString()];
  } catch {
    return [];
  }
}
