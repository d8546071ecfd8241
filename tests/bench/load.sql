-- A block of loaded sessions, with their events and messages: what the daemon would have written, had it been asked to
-- make them and to change each twice. stdin has a line for each session: its number, its partition (a hash of its id,
-- which the loader computes) and its place among those of its partition. `total` is how many sessions there will be.
--
-- Every eighth session is an interview with two times four messages, all others are ticket exports that were updated
-- twice; all are active. They were made in the course of the last day, one after the other.
BEGIN;
SET LOCAL synchronous_commit = off;

CREATE TEMPORARY TABLE block (i integer, partition smallint, place bigint) ON COMMIT DROP;
\copy block FROM pstdin

CREATE TEMPORARY TABLE made ON COMMIT DROP AS
SELECT
  partition, place, i, '00000000-0000-7000-9000-' || lpad(i::text, 12, '0') AS id, i % 8 = 0 AS interview,
  CASE WHEN i % 8 = 0 THEN 'interview' ELSE 'ticket_export' END AS workflow,
  CASE WHEN i % 8 = 0 THEN 'interviewing' ELSE 'site_info_collection' END AS stage,
  'user-' || i % (:total / 20 + 1) AS owner_id,
  CASE WHEN i % 8 = 0 THEN '{}' ELSE jsonb_build_object('team', 'team-' || i % 100) END AS labels,
  CASE
    WHEN i % 8 = 0 THEN '{}'
    ELSE jsonb_build_object(
      'site_name', 'Harbour Street ' || i % 100000,
      'site_description',
      'Two production halls and an office wing; access over the north gate, keys at the porter, photos attached',
      'jira_project_key', 'SITE',
      'llm_provider_choice', 'anthropic')
  END AS context,
  :'from'::timestamptz + interval '1 day' * i / :total AS created_at
FROM block
ORDER BY i;

INSERT INTO sessions (
  partition, id, namespace, workflow, workflow_revision, owner_id, owner_display_name, state, stage, status,
  fail_reason, context, counters, refs, labels, hold, created_at, updated_at, recover_before_at,
  sequence, revision, blocking_errors, message_count)
SELECT
  partition, id, 'default', workflow, 1, owner_id, 'Ada Lovelace', 2, stage, 'active',
  '',
  CASE WHEN interview THEN context ELSE context || '{"site_name": "Harbour Street 99999"}' END,
  CASE WHEN interview THEN '{"current_question_number": 4}' ELSE '{"total_tickets_generated": 1}'::jsonb END,
  '{}', labels, false, created_at, created_at + interval '2 milliseconds', created_at + interval '7 days',
  3, CASE WHEN interview THEN 1 ELSE 3 END, 0, CASE WHEN interview THEN 8 ELSE 0 END
FROM made;

INSERT INTO session_events (
  partition, position, session_id, sequence, event_at, type, old_state, new_state, old_stage, new_stage, old_status,
  new_status, trigger, actor, caller, reason, request_id, changes, before)
SELECT
  partition, place * 3 + sequence, id, sequence, created_at + (sequence - 1) * interval '1 millisecond',
  CASE WHEN sequence = 1 THEN 1 WHEN interview THEN 21 ELSE 3 END,
  CASE sequence WHEN 1 THEN 0 ELSE 2 END, 2,
  CASE sequence WHEN 1 THEN '' ELSE stage END, stage,
  CASE sequence WHEN 1 THEN '' ELSE 'active' END, 'active',
  3, 'anonymous', 'anonymous', '', gen_random_uuid()::text,
  CASE
    WHEN sequence = 1 THEN jsonb_build_object(
      'hold', false, 'labels', labels, 'context', context, 'owner_id', owner_id,
      'counters', CASE
        WHEN interview THEN '{"current_question_number": 0}'
        ELSE '{"total_tickets_generated": 0}'::jsonb
      END,
      'workflow', workflow, 'namespace', 'default', 'references', '{}'::jsonb, 'workflow_revision', 1,
      'owner_display_name', 'Ada Lovelace',
      'recover_before_time',
      to_char((created_at + interval '7 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    WHEN interview AND sequence = 2
      THEN '{"first_sequence": 1, "last_sequence": 4, "message_count": 4, "counters.current_question_number": 2}'
    WHEN interview
      THEN '{"first_sequence": 5, "last_sequence": 8, "message_count": 8, "counters.current_question_number": 4}'
    WHEN sequence = 2 THEN '{"context.site_name": "Harbour Street 99999"}'
    ELSE '{"counters.total_tickets_generated": 1}'
  END,
  CASE
    WHEN sequence = 1 THEN NULL
    WHEN interview AND sequence = 2 THEN '{"counters.current_question_number": 0}'
    WHEN interview THEN '{"counters.current_question_number": 2}'
    WHEN sequence = 2 THEN jsonb_build_object('context.site_name', context -> 'site_name')
    ELSE '{"counters.total_tickets_generated": 0}'
  END
FROM made, generate_series(1, 3) AS sequence;

INSERT INTO session_messages (
  partition, session_id, sequence, message_id, brought, type, content, question_type, author, metadata, created_at)
SELECT
  partition, id, sequence, gen_random_uuid()::text, false,
  CASE sequence % 2 WHEN 1 THEN 'question' ELSE 'answer' END,
  repeat(md5(i || '/' || sequence), 8),
  CASE sequence % 2 WHEN 1 THEN 'technical' ELSE '' END,
  'Ada Lovelace', '{}', created_at + ((sequence + 3) / 4) * interval '1 millisecond'
FROM made, generate_series(1, 8) AS sequence
WHERE interview;

COMMIT;
