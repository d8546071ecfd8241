-- CreateSession as one statement and one commit; see advance.sql for why this is fair. The session, its event and its
-- request row lie in one partition, as they do where the daemon draws the id. The id is a UUIDv7, as the daemon's are.
\set partition random(0, 63)
\set owner random(0, 4999)
\set site random(0, 99999)
\set team random(0, 99)
WITH drawn AS (
  SELECT lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') AS millis,
         gen_random_uuid() AS request,
         jsonb_build_object(
           'site_name', 'Harbour Street ' || :site::text,
           'site_description',
           'Two production halls and an office wing; access over the north gate, keys at the porter, photos attached',
           'jira_project_key', 'SITE',
           'llm_provider_choice', 'anthropic') AS context,
         jsonb_build_object('team', 'team-' || :team::text) AS labels
),
created AS (
  INSERT INTO sessions
  SELECT :partition,
         left(millis, 8) || '-' || right(millis, 4) || '-7' || substr(request::text, 16),
         'pgbench', 'ticket_export', 1, 'user-' || :owner::text, 'Ada Lovelace', 2, 'site_info_collection', 'active',
         NULL, '', context, '{"total_tickets_generated": 0}', '{}', labels,
         false, now(), now(), NULL, NULL, NULL, now() + interval '7 days', 1, 1
  FROM drawn
  RETURNING partition, id, namespace, workflow, workflow_revision, owner_id, owner_display_name, state, stage, status,
            context, counters, refs, labels, hold, recover_before_at
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, 1, now(), 1, 0, state, '', stage, '', status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object(
           'hold', hold, 'labels', created.labels, 'context', created.context, 'counters', counters,
           'owner_id', owner_id, 'workflow', workflow, 'namespace', namespace, 'references', refs,
           'workflow_revision', workflow_revision, 'owner_display_name', owner_display_name,
           'recover_before_time', recover_before_at)
  FROM created, drawn
)
INSERT INTO session_requests
SELECT partition, request, request, id, now()
FROM created, drawn;
