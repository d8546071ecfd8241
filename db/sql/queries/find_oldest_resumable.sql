-- The time of the oldest event after all removed ones; NULL if none was removed. One step into session_events_pkey for
-- each partition.
SELECT max(e.event_at)
FROM partitions p
CROSS JOIN LATERAL (SELECT x.event_at
                    FROM session_events x
                    WHERE x.partition = p.partition
                      AND x.position > p.purged_position
                    ORDER BY x.position
                    LIMIT 1) e
WHERE p.purged_position > 0
