-- The events of sessions after a given one, up to another, that are rewound: with $5 all that filters look at; else
-- only a change of owner, which happens only while a session is CREATING. Of `changes` only marks and blocking errors.
SELECT
  e.session_id, e.sequence, e.event_at, e.type, e.old_state, e.new_state, e.old_stage, e.new_stage, e.old_status,
  e.new_status, e.trigger, ''::text, ''::text, ''::text, ''::text,
  CASE WHEN e.type = 10 OR e.changes ? 'has_blocking_errors'
       THEN (SELECT COALESCE(jsonb_object_agg(c.key, c.value), '{}')
             FROM jsonb_each(e.changes) c
             WHERE c.key IN ('fail_time', 'has_blocking_errors'))
       ELSE '{}'
  END,
  e.before,
  NULL::timestamptz,
  {time_of_mark}
FROM unnest($1::smallint[], $2::text[], $3::integer[], $4::integer[]) AS d (partition, session_id, after, upto)
CROSS JOIN LATERAL (SELECT *
                    FROM session_events e
                    WHERE e.partition = d.partition
                      AND e.session_id = d.session_id
                      AND e.sequence > d.after
                      AND e.sequence <= d.upto
                      AND CASE WHEN $5::boolean
                               THEN e.type IN (3, 5, 9, 10, 11, 12, 21, 24) OR e.changes ? 'has_blocking_errors'
                               ELSE e.type = 3 AND e.old_state = 1
                          END
                    ORDER BY e.sequence
                    OFFSET 0) e
ORDER BY e.session_id, e.sequence
