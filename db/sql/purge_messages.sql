DELETE FROM session_messages b
USING unnest($2::ended_session_row[]) AS i
WHERE b.partition = i.partition
  AND b.session_id = i.id
  AND b.partition = ANY($1::smallint[])
