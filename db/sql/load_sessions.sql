-- Rides sessions_pkey and session_tasks_pkey, once for each id. For a session with unresolved blocking errors also
-- their ids, oldest first, by session_errors_blocking: 8, as many as kBlockingErrorIdsMax.
SELECT i.ix,
  {session_columns},
  CASE WHEN s.blocking_errors > 0
       THEN array_to_string(ARRAY(SELECT x.error_id
                                  FROM session_errors x
                                  WHERE x.partition = s.partition
                                    AND x.session_id = s.id
                                    AND x.severity = 1
                                    AND x.resolved_at IS NULL
                                  ORDER BY x.created_at, x.error_id
                                  LIMIT 8), ',')
       ELSE ''
  END
FROM unnest($2::session_key[]) AS i
JOIN sessions s ON s.partition = i.partition AND s.id = i.id
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.partition = ANY($1::smallint[])
