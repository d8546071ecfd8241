-- Rides tombstones_pkey, once for each id.
SELECT i.ix, t.archived_at, t.namespace, t.owner_id
FROM unnest($2::session_key[]) AS i
JOIN tombstones t ON t.partition = i.partition AND t.id = i.id
WHERE t.partition = ANY($1::smallint[])
