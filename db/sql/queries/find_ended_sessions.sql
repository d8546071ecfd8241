-- The tombstones of sessions that are gone. Rides tombstones_pkey, once for each.
SELECT t.id, t.namespace, t.workflow, t.owner_id, t.created_at
FROM unnest($1::smallint[], $2::text[]) AS d (partition, session_id)
JOIN tombstones t ON t.partition = d.partition AND t.id = d.session_id
