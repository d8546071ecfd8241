-- How far partitions have come, and when that was.
SELECT partition, position, clock_timestamp()
FROM partitions
WHERE partition = ANY($1::smallint[])
