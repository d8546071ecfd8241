-- As find_changed_sessions, for many: if a session's partition is at the position at which the reader knew the session
-- to have that sequence ($3, by ix; -1 for never), the session is not looked up. Rides partitions_pkey, too, once.
SELECT i.ix,
  {session_columns}
FROM unnest($2::session_key[]) AS i
LEFT JOIN sessions s ON s.partition = i.partition AND s.id = i.id AND s.partition = ANY($1::smallint[])
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.sequence IS DISTINCT FROM i.sequence
  AND (i.partition, ($3::bigint[])[i.ix + 1]) NOT IN (SELECT p.partition, p.position
                                                      FROM partitions p
                                                      WHERE p.partition = ANY($1::smallint[]))
