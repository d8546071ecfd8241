-- Rides sessions_pkey, once for each id.
SELECT i.ix,
  {session_columns}
FROM unnest($2::smallint[], $3::text[], $4::integer[]) AS i (partition, id, ix)
JOIN sessions s ON s.partition = i.partition AND s.id = i.id
WHERE s.partition = ANY($1::smallint[])
