-- Nothing of this twice: sessions that were loaded may be kept from one run to the next.
SELECT to_regclass('pgbench_positions') IS NULL AS fresh \gset
\if :fresh

-- Rows for pgbench to work on, beside the daemon's own in the same tables: as many as the load generator works on, of
-- the same workflow, size and spread over all partitions, in a namespace of their own.
INSERT INTO sessions
SELECT
  i % (SELECT partition_count FROM database_identity),
  '00000000-0000-7000-8000-' || lpad(i::text, 12, '0'),
  'pgbench', 'ticket_export', 1, 'user-' || i % 5000, 'Ada Lovelace', 2, 'site_info_collection', 'active',
  NULL, '',
  jsonb_build_object(
    'site_name', 'Harbour Street ' || i,
    'site_description',
    'Two production halls and an office wing; access over the north gate, keys at the porter, photos attached',
    'jira_project_key', 'SITE',
    'llm_provider_choice', 'anthropic'),
  '{"total_tickets_generated": 0}', '{}', jsonb_build_object('team', 'team-' || i % 100),
  false, now(), now(), NULL, NULL, NULL, now() + interval '7 days', 1, 1
FROM generate_series(0, 16383) AS i;

-- As many again for tasks and errors, in `processing`; and as many interviews.
INSERT INTO sessions
SELECT
  partition, replace(id, '-8000-', '-8001-'), namespace, workflow, workflow_revision, owner_id, owner_display_name,
  state, 'processing', status, failed_at, fail_reason, context, counters, refs, labels, hold, created_at, updated_at,
  completed_at, deleted_at, purge_at, recover_before_at, 3, 3
FROM sessions
WHERE namespace = 'pgbench';

INSERT INTO sessions
SELECT
  partition, replace(id, '-8000-', '-8002-'), namespace, 'interview', 1, owner_id, owner_display_name, state,
  'interviewing', status, failed_at, fail_reason, '{}', '{"current_question_number": 0}', refs, '{}', hold, created_at,
  updated_at, completed_at, deleted_at, purge_at, recover_before_at, 1, 1
FROM sessions
WHERE namespace = 'pgbench'
  AND id LIKE '%-8000-%';

-- Positions of pgbench's events: below zero, so that they never meet the daemon's, which count from one; and ascending,
-- so that both insert at the same end of each partition's index. Cached, so that the sequence is nobody's bottleneck.
CREATE SEQUENCE pgbench_positions AS bigint MINVALUE -9000000000000000000 START -9000000000000000000 CACHE 1000;
\endif

-- Good plans from the first transaction on.
ANALYZE sessions, session_events, session_requests, session_tasks, session_errors, session_messages;
