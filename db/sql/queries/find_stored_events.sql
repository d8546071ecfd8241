-- The events of ranges of partitions, one step into session_events_pkey for each (LIMIT keeps the planner from turning
-- it into a join with all events); what a step back needs besides its event, which rides
-- session_events_partition_session_id_sequence_key; and their sessions as they are now. At least one, and then as many
-- as fit into $4 bytes, with their messages; has_next: there are more.
SELECT *
FROM (SELECT lead(true) OVER stored IS NOT NULL AS has_next, e.partition, e.position,
        {event_columns},
        e.before,
        (SELECT x.event_at
         FROM session_events x
         WHERE x.partition = e.partition
           AND x.session_id = e.session_id
           AND x.sequence = e.sequence - 1),
        {time_of_mark},
        {session_columns},
        COALESCE(sum(octet_length(e.changes::text)
                     + COALESCE(octet_length(e.before::text), 0)
                     + COALESCE({session_bytes}, 0)
                     + CASE WHEN e.type = 21
                            THEN (SELECT COALESCE(sum(octet_length(m.content) + octet_length(m.metadata::text)), 0)
                                  FROM session_messages m
                                  WHERE m.partition = e.partition
                                    AND m.session_id = e.session_id
                                    AND m.sequence BETWEEN (e.changes->>'first_sequence')::integer
                                                       AND (e.changes->>'last_sequence')::integer)
                            ELSE 0
                       END) OVER stored, 0) AS bytes_before
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
      WINDOW stored AS (ORDER BY e.partition, e.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) stored
WHERE bytes_before < $4::bigint
ORDER BY partition, position
