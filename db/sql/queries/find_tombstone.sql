-- When a session was archived. Rides tombstones_pkey.
SELECT s.archived_at
FROM tombstones s
WHERE s.partition = $1::smallint
  AND s.id = $2::text
