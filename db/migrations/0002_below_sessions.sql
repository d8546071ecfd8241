-- What lies below a session: its task, errors, messages and artifacts. And what outlives it: the patterns of its errors.
--
-- No foreign keys: each would cost every row a look-up and a row lock. One write path creates these rows, under the lock
-- of their partition, and removes them with their session; a test counts orphans.

-- Counts that decisions look at.
ALTER TABLE sessions
  ADD COLUMN blocking_errors integer NOT NULL DEFAULT 0 CHECK (blocking_errors >= 0),
  ADD COLUMN message_count   integer NOT NULL DEFAULT 0 CHECK (message_count >= 0);

-- What a request named, so that its repetition can answer with it as it stands then: the id of a task, an error or an
-- artifact (many: separated by line feeds), or the first and last sequence of messages.
ALTER TABLE session_requests
  ADD COLUMN answer text NOT NULL DEFAULT '';

-- The highest position whose event was removed by archiving or erasure: a watch cannot resume before it.
ALTER TABLE partitions
  ADD COLUMN purged_position bigint NOT NULL DEFAULT 0;

-- For the erasure of an owner, whose sessions may have been archived before.
CREATE INDEX tombstones_by_owner ON tombstones (owner_id) WHERE owner_id <> '';

-- One task per session, overwritten as the workflow moves on. status: 1 RUNNING, 2 COMPLETED, 3 FAILED, 4 CANCELLED.
-- heartbeat_at has no index, so that a bare heartbeat stays HOT.
CREATE TABLE session_tasks (
  partition          smallint    NOT NULL,
  session_id         text        COLLATE "C" NOT NULL,
  task_type          text        COLLATE "C" NOT NULL,
  task_id            text        COLLATE "C" NOT NULL,
  status             smallint    NOT NULL CHECK (status BETWEEN 1 AND 4),
  started_at         timestamptz NOT NULL,
  completed_at       timestamptz,
  failed_at          timestamptz,
  cancelled_at       timestamptz,
  retry_count        integer     NOT NULL CHECK (retry_count >= 0),
  max_retries        integer     NOT NULL CHECK (max_retries > 0),
  -- Milliseconds; 0 for none.
  heartbeat_timeout  bigint      NOT NULL CHECK (heartbeat_timeout >= 0),
  heartbeat_at       timestamptz NOT NULL,
  progress           jsonb,
  result             jsonb,
  failure_context    jsonb,
  PRIMARY KEY (partition, session_id)
) WITH (fillfactor = 70);

CREATE INDEX session_tasks_by_status  ON session_tasks (status, task_type, started_at, session_id);
CREATE INDEX session_tasks_by_start   ON session_tasks (started_at, session_id);
CREATE INDEX session_tasks_heartbeats ON session_tasks (partition, session_id)
  WHERE status = 1 AND heartbeat_timeout > 0;

-- category: 1 USER_FIXABLE, 2 ADMIN_REQUIRED, 3 TEMPORARY. severity: 1 BLOCKING, 2 WARNING, 3 INFO.
-- An empty file, ticket or code is none.
CREATE TABLE session_errors (
  partition          smallint    NOT NULL,
  session_id         text        COLLATE "C" NOT NULL,
  error_id           text        COLLATE "C" NOT NULL,
  category           smallint    NOT NULL CHECK (category BETWEEN 1 AND 3),
  severity           smallint    NOT NULL CHECK (severity BETWEEN 1 AND 3),
  operation_stage    text        COLLATE "C" NOT NULL,
  related_file_id    text        COLLATE "C" NOT NULL,
  related_ticket_id  text        COLLATE "C" NOT NULL,
  user_message       text        NOT NULL CHECK (user_message <> ''),
  recovery_actions   jsonb       NOT NULL,
  technical_details  jsonb       NOT NULL,
  error_code         text        COLLATE "C" NOT NULL,
  created_at         timestamptz NOT NULL,
  resolved_at        timestamptz,
  resolver           text        NOT NULL,
  resolution         text        NOT NULL,
  PRIMARY KEY (partition, session_id, error_id)
);

CREATE INDEX session_errors_by_created  ON session_errors (created_at, error_id);
CREATE INDEX session_errors_by_session  ON session_errors (partition, session_id, created_at, error_id);
CREATE INDEX session_errors_by_category ON session_errors (category, created_at, error_id);
CREATE INDEX session_errors_by_severity ON session_errors (severity, created_at, error_id);
CREATE INDEX session_errors_blocking    ON session_errors (partition, session_id, created_at, error_id)
  WHERE severity = 1 AND resolved_at IS NULL;

-- A message_id that its author brought must be new to the session; a drawn one is.
CREATE TABLE session_messages (
  partition      smallint    NOT NULL,
  session_id     text        COLLATE "C" NOT NULL,
  sequence       integer     NOT NULL CHECK (sequence > 0),
  message_id     text        COLLATE "C" NOT NULL,
  brought        boolean     NOT NULL,
  type           text        COLLATE "C" NOT NULL,
  content        text        NOT NULL CHECK (content <> ''),
  question_type  text        COLLATE "C" NOT NULL,
  author         text        NOT NULL,
  metadata       jsonb       NOT NULL,
  created_at     timestamptz NOT NULL,
  PRIMARY KEY (partition, session_id, sequence)
);

CREATE UNIQUE INDEX session_messages_brought ON session_messages (partition, session_id, message_id) WHERE brought;

-- kind: 1 FILE, 2 TICKET.
CREATE TABLE session_artifacts (
  partition     smallint    NOT NULL,
  session_id    text        COLLATE "C" NOT NULL,
  artifact_id   text        COLLATE "C" NOT NULL,
  kind          smallint    NOT NULL CHECK (kind BETWEEN 1 AND 2),
  display_name  text        NOT NULL,
  uri           text        NOT NULL,
  metadata      jsonb       NOT NULL,
  created_at    timestamptz NOT NULL,
  PRIMARY KEY (partition, session_id, artifact_id)
);

CREATE INDEX session_artifacts_by_created ON session_artifacts (partition, session_id, created_at, artifact_id);

-- What the errors of archived sessions had in common.
CREATE TABLE error_patterns (
  partition        smallint NOT NULL,
  namespace        text     COLLATE "C" NOT NULL,
  workflow         text     COLLATE "C" NOT NULL,
  operation_stage  text     COLLATE "C" NOT NULL,
  category         smallint NOT NULL,
  error_code       text     COLLATE "C" NOT NULL,
  errors           bigint   NOT NULL,
  PRIMARY KEY (partition, namespace, workflow, operation_stage, category, error_code)
);

-- The ids of past runs, for a caller that brings its own. type: 13 TASK_STARTED, 17 TASK_RETRIED, 27 IMPORTED.
CREATE INDEX session_events_task_ids ON session_events (partition, session_id, (changes -> 'current_task' ->> 'task_id'))
  WHERE type IN (13, 17, 27);

-- What the fields that filters look at were before an UPDATED, MESSAGES_APPENDED or REFERENCE_DETACHED event (field path →
-- old value, null for none), so that a watch can tell whether a session matched before it. Null for other events: theirs
-- follows from the event itself.
ALTER TABLE session_events
  ADD COLUMN before jsonb;
