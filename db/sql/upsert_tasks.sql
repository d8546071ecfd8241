INSERT INTO session_tasks AS t (
  partition, session_id, task_type, task_id, status, started_at, completed_at, failed_at, cancelled_at, retry_count,
  max_retries, heartbeat_timeout, heartbeat_at, progress, result, failure_context)
SELECT
  p.partition, i.session_id, i.task_type, i.task_id, i.status, i.started_at, i.completed_at, i.failed_at,
  i.cancelled_at, i.retry_count, i.max_retries, i.heartbeat_timeout, i.heartbeat_at, i.progress, i.result, i.failure_context
FROM unnest($2::task_row[]) AS i
JOIN partitions p ON p.partition = i.partition
WHERE p.partition = ANY($1::smallint[])
ON CONFLICT (partition, session_id) DO UPDATE
SET task_type         = excluded.task_type,
    task_id           = excluded.task_id,
    status            = excluded.status,
    started_at        = excluded.started_at,
    completed_at      = excluded.completed_at,
    failed_at         = excluded.failed_at,
    cancelled_at      = excluded.cancelled_at,
    retry_count       = excluded.retry_count,
    max_retries       = excluded.max_retries,
    heartbeat_timeout = excluded.heartbeat_timeout,
    -- Heartbeats move no position, and one may overtake another.
    heartbeat_at      = CASE WHEN t.task_id = excluded.task_id THEN greatest(t.heartbeat_at, excluded.heartbeat_at)
                             ELSE excluded.heartbeat_at
                        END,
    progress          = excluded.progress,
    result            = excluded.result,
    failure_context   = excluded.failure_context
