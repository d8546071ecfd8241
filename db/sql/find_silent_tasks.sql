-- Running tasks whose workers have been silent for longer than allowed. Rides session_tasks_heartbeats.
SELECT t.session_id, t.task_id, t.task_type, t.heartbeat_timeout
FROM session_tasks t
WHERE t.status = 1
  AND t.heartbeat_timeout > 0
  AND t.heartbeat_at + t.heartbeat_timeout * interval '1 millisecond' <= clock_timestamp()
LIMIT 256
