DELETE FROM session_tasks b
USING unnest($2::smallint[], $3::text[]) AS i (partition, session_id)
WHERE b.partition = i.partition
  AND b.session_id = i.session_id
  AND b.partition = ANY($1::smallint[])
