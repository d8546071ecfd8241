-- A session with its task. Rides sessions_pkey and session_tasks_pkey.
SELECT
  {session_columns}
FROM sessions s
LEFT JOIN session_tasks t ON t.partition = s.partition AND t.session_id = s.id
WHERE s.partition = $1::smallint
  AND s.id = $2::text
