// Times and durations in the language's own types.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

/**
 * A moment, as the daemon tells it. It is a Date, to a millisecond, and keeps the microseconds: `toISOString` and JSON
 * show them, and a request or a Protobuf message that takes a Timestamp takes it unharmed.
 */
export class Time extends Date implements Timestamp {
  readonly #nanos: number;

  constructor(seconds: bigint, nanos: number) {
    super(Number(seconds) * 1000 + Math.floor(nanos / 1e6));
    this.#nanos = nanos;
  }
  get $typeName(): "google.protobuf.Timestamp" {
    return "google.protobuf.Timestamp";
  }
  get seconds(): bigint {
    return BigInt(Math.floor(this.getTime() / 1000));
  }
  get nanos(): number {
    return this.#nanos;
  }
  /** RFC 3339 in UTC with six digits, for example `2026-01-02T03:04:05.000006Z`; as filters take it. */
  override toISOString(): string {
    return `${super.toISOString().slice(0, 19)}.${String(Math.floor(this.#nanos / 1000)).padStart(6, "0")}Z`;
  }
  override toJSON(): string {
    return this.toISOString();
  }
}

/** A Timestamp from a Date or from RFC 3339 text of up to nine digits behind the second. */
export function timestampFrom(time: Date | string): Time {
  if (time instanceof Time) return time;
  if (typeof time === "string") return timestampFromJson(time);
  const ms = time.getTime();
  if (Number.isNaN(ms)) throw new RangeError("an invalid Date is no time");
  return new Time(BigInt(Math.floor(ms / 1000)), (((ms % 1000) + 1000) % 1000) * 1e6);
}

export function timestampFromJson(text: string): Time {
  const match = /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/.exec(text);
  const digits = (match?.[1] ?? "").toUpperCase();
  const ms = Date.parse(`${digits}${(match?.[3] ?? "").toUpperCase()}`);
  // Date.parse takes 30 February for 2 March.
  if (Number.isNaN(ms) || !new Date(`${digits}Z`).toISOString().startsWith(digits)) {
    throw new RangeError(`"${text}" is no time; write it as RFC 3339, for example 2026-01-02T03:04:05.678Z`);
  }
  return new Time(BigInt(ms / 1000), Number((match?.[2] ?? "").padEnd(9, "0")));
}

export function timestampDate(timestamp: Timestamp): Time {
  return timestamp instanceof Time ? timestamp : new Time(timestamp.seconds, timestamp.nanos);
}

/** The seconds and nanoseconds of a number of milliseconds. */
export function durationFrom(ms: number): { seconds: bigint; nanos: number } {
  if (!Number.isFinite(ms)) throw new RangeError(`${ms} is no duration; give a number of milliseconds`);
  const seconds = Math.trunc(ms / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

/** A Duration in milliseconds. */
export function milliseconds(duration: Pick<Duration, "seconds" | "nanos">): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
