-- Ascending, whatever the plan: so two daemons that lock the same partitions do it in the same order.
SELECT partition, position, clock_timestamp()
FROM partitions
WHERE partition = ANY($1::smallint[])
ORDER BY partition
FOR UPDATE
