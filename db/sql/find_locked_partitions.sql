-- Those of these partitions that another transaction holds locked. The others are locked until the end of this
-- statement's transaction.
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
