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

-- Positions of pgbench's events: below zero, so that they never meet the daemon's, which count from one; and ascending,
-- so that both insert at the same end of each partition's index. Cached, so that the sequence is nobody's bottleneck.
CREATE SEQUENCE pgbench_positions AS bigint MINVALUE -9000000000000000000 START -9000000000000000000 CACHE 1000;

-- Good plans from the first transaction on.
ANALYZE sessions, session_events, session_requests;
