-- Sessions left in CREATING for too long; those held cannot be deleted, and would be found again and again.
-- Rides sessions_by_state.
SELECT s.id, s.revision
FROM sessions s
WHERE s.state = 1
  AND s.created_at < $1::timestamptz
  AND NOT s.hold
ORDER BY s.created_at
LIMIT 100
