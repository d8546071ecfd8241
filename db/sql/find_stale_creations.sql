-- Sessions left in CREATING for too long. Rides sessions_by_state.
SELECT s.id
FROM sessions s
WHERE s.state = 1
  AND s.created_at < $1::timestamptz
ORDER BY s.created_at
LIMIT 100
