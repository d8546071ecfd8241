-- Whose these sessions are, without loading them. Rides sessions_pkey, once for each id.
SELECT i.ix, s.namespace, s.owner_id
FROM unnest($2::session_key[]) AS i
JOIN sessions s ON s.partition = i.partition AND s.id = i.id
WHERE s.partition = ANY($1::smallint[])
