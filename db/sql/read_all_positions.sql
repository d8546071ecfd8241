-- The position of every partition, in the order of partitions. Rides partitions_pkey.
SELECT array_agg(position ORDER BY partition)
FROM partitions
