-- Of these partitions, those that somebody else keeps locked. The others are locked for as long as this statement's
-- transaction takes.
WITH free AS MATERIALIZED (
  SELECT partition
  FROM partitions
  WHERE partition = ANY($1::smallint[])
  ORDER BY partition
  FOR UPDATE SKIP LOCKED
)
SELECT partition
FROM partitions
WHERE partition = ANY($1::smallint[])
  AND partition NOT IN (SELECT partition FROM free)
