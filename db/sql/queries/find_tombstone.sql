-- When a session was archived, and whose it was. Rides tombstones_pkey.
SELECT s.archived_at, s.namespace, s.owner_id
FROM tombstones s
WHERE s.partition = $1::smallint
  AND s.id = $2::text
