// The resources as calls answer them: the generated messages, with a Time where those have a Timestamp.
import type * as artifact from "./gen/sessiond/v1/artifact_pb.js";
import type * as error from "./gen/sessiond/v1/error_pb.js";
import type * as message from "./gen/sessiond/v1/message_pb.js";
import type * as session from "./gen/sessiond/v1/session_pb.js";
import type * as event from "./gen/sessiond/v1/session_event_pb.js";
import type * as task from "./gen/sessiond/v1/task_pb.js";
import type * as workflow from "./gen/sessiond/v1/workflow_pb.js";
import type { Result } from "./messages.js";

/** Where one long-lived user session stands. */
export interface Session extends Result<session.Session> {}
/** Why a session was, or was not, found. */
export interface SessionLookup extends Result<session.SessionLookup> {}
/** The one background job that runs, or ran last, for a session. */
export interface SessionTask extends Result<task.SessionTask> {}
/** Something that went wrong in a session. */
export interface SessionError extends Result<error.SessionError> {}
/** Something that was said in a session. */
export interface SessionMessage extends Result<message.SessionMessage> {}
/** A file or a ticket of a session. */
export interface SessionArtifact extends Result<artifact.SessionArtifact> {}
/** One fact about a session, of its audit. */
export interface SessionEvent extends Result<event.SessionEvent> {}
/** A definition of what a kind of session goes through. */
export interface Workflow extends Result<workflow.Workflow> {}
