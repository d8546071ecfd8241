-- The positions of partitions, and the time of reading. Rides partitions_pkey.
SELECT partition, position, clock_timestamp()
FROM partitions
WHERE partition = ANY($1::smallint[])
