-- Of sessions that the reader has, by their sequence, those that have another by now; and, with nothing but nulls, those
-- that are gone. Rides sessions_pkey and session_tasks_pkey, once for each id.
SELECT i.ix,
  {session_columns}
FROM unnest($2::session_key[]) AS i
LEFT JOIN sessions s ON s.partition = i.partition AND s.id = i.id AND s.partition = ANY($1::smallint[])
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.sequence IS DISTINCT FROM i.sequence
