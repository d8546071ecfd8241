// How long to wait before a retry.
import type { SessiondError } from "./errors.js";

/** Pauses that double, each drawn from its upper half, so that many clients do not return at the same time. */
export class Backoff {
  #next: number;

  constructor(
    private readonly initialMs: number,
    private readonly maxMs: number,
  ) {
    this.#next = initialMs;
  }

  /** The pause after this error: what the server asks for (`grpc-retry-pushback-ms`), or at least its RetryInfo. */
  next(why?: SessiondError): number {
    const drawn = this.#next * (0.5 + Math.random() / 2);
    this.#next = Math.min(this.#next * 2, this.maxMs);
    const { pushbackMs, retryAfterMs = 0 } = why ?? {};
    if (pushbackMs !== undefined && pushbackMs >= 0) return Math.max(pushbackMs, retryAfterMs);
    return Math.max(drawn, retryAfterMs);
  }

  /** After a success. */
  reset(): void {
    this.#next = this.initialMs;
  }
}
