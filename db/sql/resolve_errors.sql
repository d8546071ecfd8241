UPDATE session_errors x
SET resolved_at = i.resolved_at,
    resolver    = i.resolver,
    resolution  = i.resolution
FROM unnest($2::error_row[]) AS i
WHERE x.partition = i.partition
  AND x.session_id = i.session_id
  AND x.error_id = i.error_id
  AND x.partition = ANY($1::smallint[])
