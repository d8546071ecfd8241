-- Ascending, whatever the plan: two daemons that lock the same partitions then wait for each other in one order.
SELECT partition, position, clock_timestamp()
FROM partitions
WHERE partition = ANY($1::smallint[])
ORDER BY partition
FOR UPDATE
