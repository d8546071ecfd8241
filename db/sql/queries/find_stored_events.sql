-- The events of ranges of partitions, one step into session_events_pkey for each (LIMIT keeps the planner from turning
-- it into a join with all events); what a step back needs besides its event, which rides
-- session_events_partition_session_id_sequence_key; and their sessions as they are now.
SELECT e.partition, e.position,
  {event_columns},
  e.before,
  (SELECT x.event_at
   FROM session_events x
   WHERE x.partition = e.partition
     AND x.session_id = e.session_id
     AND x.sequence = e.sequence - 1),
  {time_of_mark},
  {session_columns}
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w (partition, after, upto)
CROSS JOIN LATERAL (SELECT *
                    FROM session_events e
                    WHERE e.partition = w.partition
                      AND e.position > w.after
                      AND e.position <= w.upto
                    ORDER BY e.position
                    LIMIT 1000) e
LEFT JOIN LATERAL (SELECT *
                   FROM sessions s
                   WHERE s.partition = e.partition
                     AND s.id = e.session_id
                   LIMIT 1) s ON true
{current_task_join}
ORDER BY e.partition, e.position
