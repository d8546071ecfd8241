-- Each partition's position, and the one up to which its events were removed.
SELECT p.partition, p.position, p.purged_position
FROM partitions p
