DELETE FROM sessions s
USING unnest($2::smallint[], $3::text[]) AS i (partition, id)
WHERE s.partition = i.partition
  AND s.id = i.id
  AND s.partition = ANY($1::smallint[])
