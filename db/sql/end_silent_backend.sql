-- Whether a backend waits for its client while that client waits for the backend: then what one of them sent was lost.
-- The backend is ended, so that its locks are released. No row: it is gone.
SELECT CASE WHEN wait_event_type = 'Client' THEN pg_terminate_backend(pid) ELSE false END
FROM pg_stat_activity
WHERE pid = $1::integer
  AND (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint = $2::bigint
