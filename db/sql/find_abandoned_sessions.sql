-- Sessions of one revision of a workflow that are abandoned: active or paused, and created before a time. Rides
-- sessions_by_state.
SELECT s.id, s.revision
FROM sessions s
WHERE s.state IN (2, 3)
  AND s.created_at < $3::timestamptz
  AND s.workflow = $1::text
  AND s.workflow_revision = $2::integer
  AND NOT s.hold
ORDER BY s.created_at
LIMIT 256
