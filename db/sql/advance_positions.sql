-- Null, which the column refuses, if another daemon has moved a position meanwhile, or if it is too late: a group that
-- was decided without locks (commit_group.h) then writes nothing. The time is the statement's, since a distributed
-- PostgreSQL accepts no volatile function in an update; the statement's wait for the lock is not included.
UPDATE partitions p
SET position = CASE WHEN p.position = i.position AND statement_timestamp() < coalesce(i.until, 'infinity')
                    THEN p.position + i.events END
FROM unnest($2::advance_row[]) AS i
WHERE p.partition = i.partition
  AND p.partition = ANY($1::smallint[])
RETURNING statement_timestamp()
