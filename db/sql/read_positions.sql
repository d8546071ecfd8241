-- How far partitions have come, and when that was. Rides partitions_pkey.
SELECT partition, position, clock_timestamp()
FROM partitions
WHERE partition = ANY($1::smallint[])
