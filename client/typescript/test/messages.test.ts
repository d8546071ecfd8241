// Requests as plain objects, times as Dates that keep their microseconds.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { ImportSessionsRequestSchema } from "../src/gen/sessiond/v1/admin_service_pb.js";
import { CreateSessionRequestSchema } from "../src/gen/sessiond/v1/session_service_pb.js";
import {
  InvalidArgumentError,
  SessionSchema,
  StartTaskRequestSchema,
  Time,
  UpdateSessionRequestSchema,
  version,
} from "../src/index.js";
import { requestFrom, resultFrom } from "../src/messages.js";
import { durationFrom, milliseconds, timestampFrom } from "../src/time.js";

test("a time is a Date, keeps its microseconds, and is a Timestamp to Protobuf", () => {
  for (const [seconds, nanos, text] of [
    [1_767_323_045n, 6_000, "2026-01-02T03:04:05.000006Z"],
    [1_767_323_045n, 999_999_000, "2026-01-02T03:04:05.999999Z"],
    [0n, 0, "1970-01-01T00:00:00.000000Z"],
    [-1n, 999_999_000, "1969-12-31T23:59:59.999999Z"],
  ] as const) {
    const bytes = toBinary(SessionSchema, create(SessionSchema, { createTime: { seconds, nanos } }));
    const session = resultFrom(SessionSchema, fromBinary(SessionSchema, bytes));
    const time = session.createTime;
    assert.ok(time instanceof Date && time instanceof Time);
    assert.equal(time.toISOString(), text);
    assert.equal(JSON.stringify({ time }), `{"time":"${text}"}`);
    assert.equal(time.getTime(), Math.floor(Number(seconds) * 1000 + nanos / 1e6));
    assert.deepEqual([time.seconds, time.nanos], [seconds, nanos]);
    assert.deepEqual(toBinary(SessionSchema, session), bytes);
    assert.ok(JSON.stringify(toJson(SessionSchema, session)).includes(text.slice(0, 19)));
  }
});

test("times inside lists, maps and messages are Dates, too", () => {
  const session = create(SessionSchema, {
    currentTask: { startTime: { seconds: 1n, nanos: 0 } },
    files: [{ createTime: { seconds: 2n, nanos: 0 } }],
  });
  const result = resultFrom(SessionSchema, session);
  assert.equal(result.currentTask?.startTime?.getTime(), 1000);
  assert.equal(result.files[0]?.createTime?.getTime(), 2000);
});

test("a request takes Dates, RFC 3339 text, milliseconds and lists of paths", () => {
  assert.equal(timestampFrom("2026-01-02T04:04:05.000006+01:00").toISOString(), "2026-01-02T03:04:05.000006Z");
  assert.equal(timestampFrom("2026-01-02T03:04:05Z").nanos, 0);
  assert.equal(timestampFrom(new Date(-1)).toISOString(), "1969-12-31T23:59:59.999000Z");
  assert.throws(() => timestampFrom("yesterday"), /"yesterday" is no time; write it as RFC 3339/);
  for (const never of [
    "2026-02-30T00:00:00Z",
    "2026-02-29T23:59:59-01:00",
    "2026-04-31T00:00:00.5+02:00",
    "2026-13-01T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00+24:00",
  ]) {
    assert.throws(() => timestampFrom(never), {
      name: "RangeError",
      message: `"${never}" is no time; write it as RFC 3339, for example 2026-01-02T03:04:05.678Z`,
    });
  }
  assert.equal(timestampFrom("2028-02-29t23:30:00-01:00").toISOString(), "2028-03-01T00:30:00.000000Z");
  assert.throws(() => timestampFrom(new Date(Number.NaN)), RangeError);
  const session = requestFrom(SessionSchema, {
    createTime: new Date(1500),
    files: [{ createTime: "1970-01-01T00:00:02Z" }],
  });
  assert.deepEqual([session.createTime?.seconds, session.createTime?.nanos], [1n, 500_000_000]);
  assert.equal(session.files[0]?.createTime?.seconds, 2n);

  const start = requestFrom(StartTaskRequestSchema, { heartbeatTimeout: 2500.5 });
  assert.deepEqual([start.heartbeatTimeout?.seconds, start.heartbeatTimeout?.nanos], [2n, 500_500_000]);
  assert.equal(milliseconds(durationFrom(-1500)), -1500);
  assert.throws(() => durationFrom(Number.NaN), RangeError);

  const update = requestFrom(UpdateSessionRequestSchema, {
    updateMask: ["labels.My_Key", "context.a_1", "labels.`a.b`"],
  });
  const sent = fromBinary(UpdateSessionRequestSchema, toBinary(UpdateSessionRequestSchema, update));
  assert.deepEqual(sent.updateMask?.paths, ["labels.My_Key", "context.a_1", "labels.`a.b`"]);
});

test("half of a character is refused by its place: TextEncoder would replace it without a word", () => {
  const half = "a\ud800b";
  const itself: { itself?: object } = {};
  itself.itself = itself;
  for (const [field, session] of [
    ["session.owner_id", { ownerId: half }],
    ["session.context.a.b[1]", { context: { a: { b: ["", half] } } }],
    ["session.context.a", { context: { a: { [half]: 1 } } }],
    ["session.labels", { labels: { [half]: "x" } }],
    ["session.labels.x", { labels: { x: "\udc00\ud800" } }],
    ["session.files[1].display_name", { files: [{}, { displayName: half }] }],
  ] as const) {
    assert.throws(
      () => requestFrom(CreateSessionRequestSchema, { session }),
      (error) => {
        assert.ok(error instanceof InvalidArgumentError, String(error));
        assert.deepEqual(
          error.fieldViolations.map((violation) => violation.field),
          [field],
        );
        assert.ok(error.message.includes(field) && !error.message.includes(half), error.message);
        return true;
      },
    );
  }
  const imported = { session: {}, events: [{}, { kind: [half] }] };
  assert.throws(() => requestFrom(ImportSessionsRequestSchema, imported), /: events\[1\]\.kind\[0\] has half/);
  const mask = { updateMask: ["labels.a", `labels.${half}`] };
  assert.throws(() => requestFrom(UpdateSessionRequestSchema, mask), /: update_mask\.paths\[1\] has half/);
  for (const context of [{ a: "\u{1f600}", b: "\ufffd", c: null }, itself, 5]) {
    requestFrom(CreateSessionRequestSchema, { session: { context, createTime: new Date(0) } });
  }
});

test("a field that does not exist is refused, and those that do are named", () => {
  assert.throws(
    () => requestFrom(StartTaskRequestSchema, { session_id: "s1" }),
    /has no field session_id; it has: sessionId/,
  );
});

test("the version is package.json's", () => {
  const { version: packaged } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  assert.equal(version, packaged);
});
