-- Of sessions that the reader has, by their sequence, those that have another by now; and, with nothing but nulls, those
-- that are gone. Who knows where a session's partition stood when it had that sequence says so ($3, by ix; else -1): while
-- it stands there still, the session is not looked up. Rides partitions_pkey once, else sessions_pkey and
-- session_tasks_pkey once for each id.
SELECT i.ix,
  {session_columns}
FROM unnest($2::session_key[]) AS i
LEFT JOIN sessions s ON s.partition = i.partition AND s.id = i.id AND s.partition = ANY($1::smallint[])
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.sequence IS DISTINCT FROM i.sequence
  AND (i.partition, ($3::bigint[])[i.ix + 1]) NOT IN (SELECT p.partition, p.position
                                                      FROM partitions p
                                                      WHERE p.partition = ANY($1::smallint[]))
