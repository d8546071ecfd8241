-- What the daemon hands to its set-based statements: one array of rows, of one of these types. With an array for each
-- column, each is unnested by itself and put into a tuplestore of its own: 60 % more CPU for an update and its event, a sixth for sixty of them.
--
-- A type is never altered, for rows on the wire have all of its fields, in order. What needs other fields gets a type of
-- its own.

-- ---- Rows to be written

CREATE TYPE session_row AS (
  partition           smallint,
  id                  text,
  namespace           text,
  workflow            text,
  workflow_revision   integer,
  owner_id            text,
  owner_display_name  text,
  state               smallint,
  stage               text,
  status              text,
  failed_at           timestamptz,
  fail_reason         text,
  context             jsonb,
  counters            jsonb,
  refs                jsonb,
  labels              jsonb,
  hold                boolean,
  created_at          timestamptz,
  updated_at          timestamptz,
  completed_at        timestamptz,
  deleted_at          timestamptz,
  purge_at            timestamptz,
  recover_before_at   timestamptz,
  sequence            integer,
  revision            integer,
  blocking_errors     integer,
  message_count       integer
);

CREATE TYPE event_row AS (
  partition   smallint,
  position    bigint,
  session_id  text,
  sequence    integer,
  event_at    timestamptz,
  type        smallint,
  old_state   smallint,
  new_state   smallint,
  old_stage   text,
  new_stage   text,
  old_status  text,
  new_status  text,
  trigger     smallint,
  actor       text,
  caller      text,
  reason      text,
  request_id  text,
  changes     jsonb,
  before      jsonb
);

CREATE TYPE task_row AS (
  partition          smallint,
  session_id         text,
  task_type          text,
  task_id            text,
  status             smallint,
  started_at         timestamptz,
  completed_at       timestamptz,
  failed_at          timestamptz,
  cancelled_at       timestamptz,
  retry_count        integer,
  max_retries        integer,
  heartbeat_timeout  bigint,
  heartbeat_at       timestamptz,
  progress           jsonb,
  result             jsonb,
  failure_context    jsonb
);

CREATE TYPE error_row AS (
  partition          smallint,
  session_id         text,
  error_id           text,
  category           smallint,
  severity           smallint,
  operation_stage    text,
  related_file_id    text,
  related_ticket_id  text,
  user_message       text,
  recovery_actions   jsonb,
  technical_details  jsonb,
  error_code         text,
  created_at         timestamptz,
  resolved_at        timestamptz,
  resolver           text,
  resolution         text
);

CREATE TYPE message_row AS (
  partition      smallint,
  session_id     text,
  sequence       integer,
  message_id     text,
  brought        boolean,
  type           text,
  content        text,
  question_type  text,
  author         text,
  metadata       jsonb,
  created_at     timestamptz
);

CREATE TYPE artifact_row AS (
  partition     smallint,
  session_id    text,
  artifact_id   text,
  kind          smallint,
  display_name  text,
  uri           text,
  metadata      jsonb,
  created_at    timestamptz
);

CREATE TYPE request_row AS (
  partition    smallint,
  request_key  uuid,
  fingerprint  uuid,
  session_id   text,
  answer       text,
  created_at   timestamptz
);

-- From where a partition moves on, by how many events, and until when that is so.
CREATE TYPE advance_row AS (
  partition  smallint,
  position   bigint,
  events     bigint,
  until      timestamptz
);

-- A session of which a tombstone and the last event stay.
CREATE TYPE ended_session_row AS (
  partition      smallint,
  id             text,
  namespace      text,
  workflow       text,
  owner_id       text,
  created_at     timestamptz,
  archived_at    timestamptz,
  last_sequence  integer
);

-- ---- Rows to be looked up; `ix` says for whom, where the result does not

-- The sequence that is known, or 0.
CREATE TYPE session_key AS (
  partition  smallint,
  id         text,
  ix         integer,
  sequence   integer
);

-- What lies below a session, by its own id.
CREATE TYPE named_key AS (
  partition   smallint,
  session_id  text,
  id          text
);

CREATE TYPE request_key AS (
  partition    smallint,
  request_key  uuid,
  ix           integer
);
