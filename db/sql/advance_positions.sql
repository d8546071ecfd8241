-- Null, which the column refuses, where somebody else has moved a position meanwhile, or it is too late: a group that was
-- decided without locks (commit_group.h) then writes nothing. The time is the statement's, for a distributed PostgreSQL
-- takes no volatile function in an update; what the statement waits for the lock comes on top.
UPDATE partitions p
SET position = CASE WHEN p.position = i.position AND statement_timestamp() < coalesce(i.until, 'infinity')
                    THEN p.position + i.events END
FROM unnest($2::advance_row[]) AS i
WHERE p.partition = i.partition
  AND p.partition = ANY($1::smallint[])
RETURNING statement_timestamp()
