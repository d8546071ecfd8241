DELETE FROM sessions s
USING unnest($2::ended_session_row[]) AS i
WHERE s.partition = i.partition
  AND s.id = i.id
  AND s.partition = ANY($1::smallint[])
