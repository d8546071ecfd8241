-- UpdateSession as one statement and one commit; see advance.sql for why this is fair. By turns, as the load generator
-- does: a field of the context, a counter, a label (which is indexed).
\set i random(0, 16383)
\set partition :i % 64
\set kind random(0, 2)
\set value random(0, 99999)
WITH changed AS (
  UPDATE sessions
  SET context = CASE :kind::integer
        WHEN 0 THEN context || jsonb_build_object('site_name', 'Harbour Street ' || :value::text)
        ELSE context
      END,
      counters = CASE :kind::integer
        WHEN 1 THEN jsonb_build_object('total_tickets_generated', :value::integer)
        ELSE counters
      END,
      labels = CASE :kind::integer
        WHEN 2 THEN jsonb_build_object('team', 'team-' || :value::integer % 100)
        ELSE labels
      END,
      updated_at = now(),
      sequence = sequence + 1,
      revision = sequence + 1
  WHERE partition = :partition
    AND id = '00000000-0000-7000-8000-' || lpad(:i::text, 12, '0')
  RETURNING partition, id, sequence, state, stage, status, gen_random_uuid() AS request
),
event AS (
  INSERT INTO session_events
  SELECT partition, nextval('pgbench_positions'), id, sequence, now(), 3, state, state, stage, stage, status, status,
         3, 'anonymous', 'anonymous', '', request::text,
         jsonb_build_object('context.site_name', 'Harbour Street ' || :value::text),
         jsonb_build_object('context.site_name', 'Harbour Street ' || :value::text)
  FROM changed
)
INSERT INTO session_requests
SELECT partition, request, request, id, now()
FROM changed;
