-- Sessions whose payload may be removed by retention. Rides sessions_by_purge.
SELECT s.id
FROM sessions s
WHERE s.purge_at <= clock_timestamp()
  AND NOT s.hold
LIMIT 256
