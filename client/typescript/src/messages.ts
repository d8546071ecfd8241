// Requests as plain objects in, responses with real times out.
//
//   Init<T>   what a request may be given as: a Date or RFC 3339 text for a Timestamp, milliseconds for a Duration,
//             a list of paths for a FieldMask, and any field left out
//   Result<T> what is answered: T, with a Time (a Date) where T has a Timestamp
import {
  create,
  type DescField,
  type DescMessage,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Duration, FieldMask, Timestamp } from "@bufbuild/protobuf/wkt";
import { InvalidArgumentError } from "./errors.js";
import { durationFrom, type Time, timestampDate, timestampFrom } from "./time.js";

type Fields<T> = { [K in keyof T as K extends "$typeName" | "$unknown" ? never : K]?: Init<T[K]> | undefined };

export type Init<T> = T extends Timestamp
  ? T | Date | string
  : T extends Duration
    ? T | number | { seconds?: bigint; nanos?: number }
    : T extends FieldMask
      ? T | { paths?: string[] } | readonly string[]
      : T extends Message
        ? T | Fields<T>
        : T extends readonly (infer Item)[]
          ? readonly Init<Item>[]
          : T extends { case: string; value: infer Value }
            ? { case: T["case"]; value: Init<Value> }
            : T;

export type Result<T> = T extends Timestamp
  ? Time
  : T extends Duration | FieldMask
    ? T
    : T extends Message
      ? { [K in keyof T]: Result<T[K]> }
      : T extends readonly (infer Item)[]
        ? Result<Item>[]
        : T extends { case: string; value: infer Value }
          ? { case: T["case"]; value: Result<Value> }
          : T;

type Fielded = Record<string, unknown>;

/**
 * The message of what a caller gave. Throws a TypeError for a field that does not exist, and an InvalidArgumentError for
 * text that UTF-8 does not have.
 */
export function requestFrom<D extends DescMessage>(desc: D, given: unknown): MessageShape<D> {
  const message = create(desc, initOf(desc, given) as MessageInitShape<D>);
  try {
    refuseHalves(desc, message as unknown as Fielded, "");
  } catch (error) {
    // What cannot be gone through cannot be written: who writes it says so.
    if (error instanceof InvalidArgumentError) throw error;
  }
  return message;
}

// Throws where a text has half of a character: TextEncoder would replace it without a word.
function refuseHalves(desc: DescMessage, message: Fielded, path: string): void {
  for (const field of desc.fields) {
    const { oneof } = field;
    const chosen = oneof && (message[oneof.localName] as { case?: string; value?: unknown });
    if (chosen !== undefined && chosen.case !== field.localName) continue;
    const value = chosen === undefined ? message[field.localName] : chosen.value;
    const place = path === "" ? field.name : `${path}.${field.name}`;
    const refuse = (one: unknown, at: string) => {
      const inner = field.message;
      if (inner === undefined || inner.typeName === "google.protobuf.Struct") refuseHalvesIn(one, at);
      else if (one !== undefined) refuseHalves(inner, one as Fielded, at);
    };
    if (field.fieldKind === "list") {
      (value as unknown[]).forEach((item, index) => refuse(item, `${place}[${index}]`));
    } else if (field.fieldKind === "map") {
      for (const [key, item] of Object.entries(value as Fielded)) {
        refuseHalvesIn(key, place);
        refuse(item, `${place}.${key}`);
      }
    } else {
      refuse(value, place);
    }
  }
}

// The same of a text, or of JSON.
function refuseHalvesIn(value: unknown, place: string): void {
  if (typeof value === "string") {
    if (!/\p{Cs}/u.test(value)) return;
    const description = "has half of a character (a surrogate without its other half), which no UTF-8 has.";
    throw new InvalidArgumentError({
      code: "INVALID_ARGUMENT",
      message: `The request cannot be sent: ${place} ${description}`,
      fieldViolations: [{ field: place, description: `It ${description}` }],
    });
  }
  if (Array.isArray(value)) {
    value.forEach((item, index) => refuseHalvesIn(item, `${place}[${index}]`));
  } else if (typeof value === "object" && value !== null && !(value instanceof Uint8Array)) {
    for (const [key, item] of Object.entries(value)) {
      refuseHalvesIn(key, place);
      refuseHalvesIn(item, `${place}.${key}`);
    }
  }
}

function initOf(desc: DescMessage, given: unknown): unknown {
  switch (desc.typeName) {
    case "google.protobuf.Timestamp":
      return given instanceof Date || typeof given === "string" ? timestampFrom(given) : given;
    case "google.protobuf.Duration":
      return typeof given === "number" ? durationFrom(given) : given;
    case "google.protobuf.FieldMask":
      return Array.isArray(given) ? { paths: given } : given;
    case "google.protobuf.Struct":
      return given;
  }
  if (typeof given !== "object" || given === null) return given;
  const fields = given as Fielded;
  const init: Fielded = {};
  for (const name of Object.keys(fields)) {
    if (name === "$typeName" || fields[name] === undefined) continue;
    const member = desc.members.find((one) => one.localName === name);
    if (member === undefined) {
      if (name === "$unknown") continue;
      throw new TypeError(`${desc.typeName} has no field ${name}; it has: ${namesOf(desc)}`);
    }
    if (member.kind === "oneof") {
      const chosen = fields[name] as { case?: string; value?: unknown };
      const field = member.fields.find((one) => one.localName === chosen.case);
      init[name] = field === undefined ? chosen : { case: chosen.case, value: fieldInit(field, chosen.value) };
    } else {
      init[name] = fieldInit(member, fields[name]);
    }
  }
  return init;
}

function namesOf(desc: DescMessage): string {
  return desc.members.map((member) => member.localName).join(", ");
}

function fieldInit(field: DescField, value: unknown): unknown {
  const message = field.message;
  if (message === undefined) return value;
  if (field.fieldKind === "list") return (value as unknown[]).map((item) => initOf(message, item));
  if (field.fieldKind === "map") {
    return Object.fromEntries(Object.entries(value as Fielded).map(([key, item]) => [key, initOf(message, item)]));
  }
  return initOf(message, value);
}

/** Puts a Time where a message, or one in it, has a Timestamp. */
export function resultFrom<D extends DescMessage>(desc: D, message: MessageShape<D>): Result<MessageShape<D>> {
  setTimes(desc, message as unknown as Fielded);
  return message as unknown as Result<MessageShape<D>>;
}

function setTimes(desc: DescMessage, message: Fielded): void {
  for (const field of desc.fields) {
    const inner = field.message;
    if (inner === undefined || (inner.typeName.startsWith("google.protobuf.") && !isTimestamp(inner))) continue;
    if (field.oneof !== undefined) {
      const chosen = message[field.oneof.localName] as { case?: string; value?: unknown };
      if (chosen.case === field.localName) chosen.value = timed(inner, chosen.value);
      continue;
    }
    const value = message[field.localName];
    if (value === undefined) continue;
    if (field.fieldKind === "list") {
      const items = value as unknown[];
      items.forEach((item, index) => (items[index] = timed(inner, item)));
    } else if (field.fieldKind === "map") {
      const items = value as Fielded;
      for (const key of Object.keys(items)) items[key] = timed(inner, items[key]);
    } else {
      message[field.localName] = timed(inner, value);
    }
  }
}

function timed(desc: DescMessage, value: unknown): unknown {
  if (isTimestamp(desc)) return timestampDate(value as Timestamp);
  setTimes(desc, value as Fielded);
  return value;
}

function isTimestamp(desc: DescMessage): boolean {
  return desc.typeName === "google.protobuf.Timestamp";
}
