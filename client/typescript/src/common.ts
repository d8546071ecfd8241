// What the package has everywhere: all but the ways to connect.
export type { CallerOptions, CallOptions, ClientEvent, RenewableTransport } from "./call.js";
export { type Client, type ClientOptions, createClient } from "./client.js";
export * from "./errors.js";
export * from "./gen/sessiond/v1/admin_service_pb.js";
export * from "./gen/sessiond/v1/artifact_pb.js";
export * from "./gen/sessiond/v1/artifact_service_pb.js";
export * from "./gen/sessiond/v1/error_pb.js";
export * from "./gen/sessiond/v1/error_reason_pb.js";
export * from "./gen/sessiond/v1/error_service_pb.js";
export * from "./gen/sessiond/v1/message_pb.js";
export * from "./gen/sessiond/v1/message_service_pb.js";
export * from "./gen/sessiond/v1/session_event_pb.js";
export * from "./gen/sessiond/v1/session_pb.js";
export * from "./gen/sessiond/v1/session_service_pb.js";
export * from "./gen/sessiond/v1/task_pb.js";
export * from "./gen/sessiond/v1/task_service_pb.js";
export * from "./gen/sessiond/v1/workflow_pb.js";
export * from "./gen/sessiond/v1/workflow_service_pb.js";
export type { ImportOptions, ImportRequest, ImportResult } from "./import.js";
export type { Init, Result } from "./messages.js";
export { type Page, Pages } from "./pages.js";
export {
  type RunningTask,
  type RunTaskOptions,
  TaskCancelledError,
  TaskError,
  TaskFailedError,
  TaskLostError,
  type TaskRun,
} from "./task.js";
export { milliseconds, Time } from "./time.js";
export type {
  Session,
  SessionArtifact,
  SessionError,
  SessionEvent,
  SessionLookup,
  SessionMessage,
  SessionTask,
  Workflow,
} from "./types.js";
export { version } from "./version.js";
export { type TokenStore, Watch, type WatchItem, type WatchOptions } from "./watch.js";
