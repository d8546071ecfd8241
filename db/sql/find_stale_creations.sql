-- Sessions left in CREATING for too long; held ones are left out: they cannot be deleted, and would be found again each
-- time. Rides sessions_by_state.
SELECT s.id, s.revision
FROM sessions s
WHERE s.state = 1
  AND s.created_at < $1::timestamptz
  AND NOT s.hold
ORDER BY s.created_at
LIMIT 100
