-- Rides sessions_pkey and session_tasks_pkey, once for each id. For a session with unresolved blocking errors also
-- their ids, oldest first, by session_errors_blocking: 8, as many as kBlockingErrorIdsMax. Only what is in the scope
-- of this number is loaded (0: of everything): a row of $3, $4 and $5 for each namespace of each scope, `shop`,
-- `shop-*` or `*`, and the owner, if it is held to one.
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
  AND (i.ix = 0
       OR EXISTS (SELECT
                  FROM unnest($3::smallint[], $4::text[], $5::text[]) AS v (scope, namespace, owner_id)
                  WHERE v.scope = i.ix
                    AND (v.owner_id IS NULL OR v.owner_id = s.owner_id)
                    AND (v.namespace = s.namespace
                         OR right(v.namespace, 1) = '*' AND starts_with(s.namespace, left(v.namespace, -1)))))
