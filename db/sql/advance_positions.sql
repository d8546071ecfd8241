-- Null, which the column refuses, where somebody else has moved a position meanwhile: a group that has loaded nothing
-- (lane_memory.h) then writes nothing.
UPDATE partitions p
SET position = CASE WHEN p.position = i.position THEN p.position + i.events END
FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS i (partition, position, events)
WHERE p.partition = i.partition
  AND p.partition = ANY($1::smallint[])
RETURNING clock_timestamp()
