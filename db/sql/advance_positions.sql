UPDATE partitions p
SET position = p.position + i.events
FROM unnest($2::smallint[], $3::bigint[]) AS i (partition, events)
WHERE p.partition = i.partition
  AND p.partition = ANY($1::smallint[])
