-- Sessions whose payload may be removed by retention, behind a position. Rides sessions_by_purge.
SELECT s.id, s.purge_at
FROM sessions s
WHERE s.purge_at <= clock_timestamp()
  AND s.purge_at >= $1::timestamptz
  AND (s.purge_at, s.id) > ($1::timestamptz, $2::text)
  AND NOT s.hold
ORDER BY s.purge_at, s.id
LIMIT 256
