-- Of the sessions that the reader has cached, those whose sequence is another by now; and, with all columns null, those
-- that are gone. Rides sessions_pkey and session_tasks_pkey, once for each id.
SELECT i.ix,
  {session_columns}
FROM unnest($2::session_key[]) AS i
LEFT JOIN sessions s ON s.partition = i.partition AND s.id = i.id AND s.partition = ANY($1::smallint[])
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.sequence IS DISTINCT FROM i.sequence
