INSERT INTO tombstones (partition, id, namespace, workflow, owner_id, created_at, archived_at)
SELECT p.partition, i.id, i.namespace, i.workflow, i.owner_id, i.created_at, i.archived_at
FROM unnest($2::ended_session_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
