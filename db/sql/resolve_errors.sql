UPDATE session_errors x
SET resolved_at = i.resolved_at,
    resolver    = i.resolver,
    resolution  = i.resolution
FROM unnest($2::smallint[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
  AS i (partition, session_id, error_id, resolved_at, resolver, resolution)
WHERE x.partition = i.partition
  AND x.session_id = i.session_id
  AND x.error_id = i.error_id
  AND x.partition = ANY($1::smallint[])
