-- How far each partition is, and up to where its events were removed.
SELECT p.partition, p.position, p.purged_position
FROM partitions p
