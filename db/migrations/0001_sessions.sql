-- Sessions, their audit, the requests that made it, and the partitions everything is ordered by.
--
-- `partition` = a fixed hash of the session id, modulo a count chosen when the database is made (the setting
-- sessiond.partitions, given by the migration runner) and never changed. It leads every primary, unique and foreign
-- key: one number is the lane key, the order of locking and the watch cursor.

-- What this database is; one row.
CREATE TABLE database_identity (
  singleton        boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
  database_id      uuid        NOT NULL DEFAULT gen_random_uuid(),
  partition_count  smallint    NOT NULL CHECK (partition_count BETWEEN 1 AND 1024),
  -- Signs page tokens, so that one daemon takes the tokens of another.
  token_key        bytea       NOT NULL DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
  created_at       timestamptz NOT NULL DEFAULT now()
);

INSERT INTO database_identity (partition_count)
VALUES (current_setting('sessiond.partitions')::smallint);

-- A row is the lock of its partition, and counts its events. fillfactor 10: every group updates it; all updates stay HOT.
CREATE TABLE partitions (
  partition  smallint PRIMARY KEY,
  position   bigint   NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO partitions (partition)
SELECT generate_series(0, partition_count - 1) FROM database_identity;

-- Workflow definitions: immutable revisions, as Protobuf JSON.
CREATE TABLE workflows (
  name        text        COLLATE "C" NOT NULL,
  revision    integer     NOT NULL CHECK (revision > 0),
  definition  jsonb       NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (name, revision)
);

-- fillfactor 70, and no index on what every command changes: updates stay HOT.
-- state: 1 CREATING, 2 ACTIVE, 3 PAUSED, 4 STOPPED, 5 DELETED (sessiond.v1.Session.State).
CREATE TABLE sessions (
  partition            smallint    NOT NULL,
  id                   text        COLLATE "C" NOT NULL,
  namespace            text        COLLATE "C" NOT NULL,
  workflow             text        COLLATE "C" NOT NULL,
  workflow_revision    integer     NOT NULL,
  owner_id             text        COLLATE "C" NOT NULL,
  owner_display_name   text        NOT NULL,
  state                smallint    NOT NULL CHECK (state BETWEEN 1 AND 5),
  stage                text        COLLATE "C" NOT NULL,
  status               text        COLLATE "C" NOT NULL,
  failed_at            timestamptz,
  fail_reason          text        NOT NULL,
  context              jsonb       NOT NULL,
  counters             jsonb       NOT NULL,
  refs                 jsonb       NOT NULL,
  labels               jsonb       NOT NULL,
  hold                 boolean     NOT NULL,
  created_at           timestamptz NOT NULL,
  updated_at           timestamptz NOT NULL,
  completed_at         timestamptz,
  deleted_at           timestamptz,
  purge_at             timestamptz,
  recover_before_at    timestamptz,
  sequence             integer     NOT NULL CHECK (sequence > 0),
  revision             integer     NOT NULL CHECK (revision BETWEEN 1 AND sequence),
  PRIMARY KEY (partition, id),
  FOREIGN KEY (workflow, workflow_revision) REFERENCES workflows (name, revision),
  CHECK ((state = 5) = (deleted_at IS NOT NULL))
) WITH (fillfactor = 70);

CREATE INDEX sessions_by_created ON sessions (created_at, id);
CREATE INDEX sessions_by_owner   ON sessions (owner_id, created_at, id);
CREATE INDEX sessions_by_status  ON sessions (status, created_at, id);
CREATE INDEX sessions_by_state   ON sessions (state, created_at, id);
CREATE INDEX sessions_by_purge   ON sessions (purge_at) WHERE purge_at IS NOT NULL;
CREATE INDEX sessions_by_label   ON sessions USING gin (labels jsonb_path_ops);
CREATE INDEX sessions_by_ref     ON sessions USING gin (refs jsonb_path_ops);

-- What is left of a session whose payload was removed: enough to say why it is not found.
CREATE TABLE tombstones (
  partition    smallint    NOT NULL,
  id           text        COLLATE "C" NOT NULL,
  namespace    text        COLLATE "C" NOT NULL,
  workflow     text        COLLATE "C" NOT NULL,
  owner_id     text        COLLATE "C" NOT NULL,
  created_at   timestamptz NOT NULL,
  archived_at  timestamptz NOT NULL,
  PRIMARY KEY (partition, id)
);

-- The audit. `position` is dense within a partition and in commit order; `sequence` is dense within a session.
-- Old and new state, stage and status are those before and after this one fact.
CREATE TABLE session_events (
  partition   smallint    NOT NULL,
  position    bigint      NOT NULL,
  session_id  text        COLLATE "C" NOT NULL,
  sequence    integer     NOT NULL,
  event_at    timestamptz NOT NULL,
  type        smallint    NOT NULL,
  old_state   smallint    NOT NULL,
  new_state   smallint    NOT NULL,
  old_stage   text        COLLATE "C" NOT NULL,
  new_stage   text        COLLATE "C" NOT NULL,
  old_status  text        COLLATE "C" NOT NULL,
  new_status  text        COLLATE "C" NOT NULL,
  trigger     smallint    NOT NULL,
  actor       text        NOT NULL,
  caller      text        NOT NULL,
  reason      text        NOT NULL,
  request_id  text        NOT NULL,
  changes     jsonb       NOT NULL,
  PRIMARY KEY (partition, position),
  UNIQUE (partition, session_id, sequence)
);

-- Events are never changed, and removed only by whoever says that it is purging (SET LOCAL sessiond.purging = 'on').
CREATE FUNCTION refuse_event_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('sessiond.purging', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'session_events is append-only: % refused', TG_OP;
END
$$;

CREATE TRIGGER session_events_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON session_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_changes();

-- What was done on whose request, for 24 hours. `request_key` = the first 16 bytes of SHA-256 over caller, session and
-- request id; `fingerprint` the same over method and payload: 16-byte keys keep this, the fastest-growing index, small.
-- A creation's row lies in the partition of its request, not of its session: its retry may not know the session.
CREATE TABLE session_requests (
  partition    smallint    NOT NULL,
  request_key  uuid        NOT NULL,
  fingerprint  uuid        NOT NULL,
  session_id   text        COLLATE "C" NOT NULL,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (partition, request_key)
);

CREATE INDEX session_requests_by_created ON session_requests USING brin (created_at);
