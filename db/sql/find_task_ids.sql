-- Which of the task run ids that callers supply their sessions have had before. Past runs are read from the audit;
-- rides session_events_task_ids.
SELECT e.session_id, i.id
FROM unnest($2::named_key[]) AS i
JOIN session_events e
  ON e.partition = i.partition AND e.session_id = i.session_id AND e.type IN (13, 17, 27)
  AND (e.changes -> 'current_task' ->> 'task_id') = i.id
WHERE e.partition = ANY($1::smallint[])
