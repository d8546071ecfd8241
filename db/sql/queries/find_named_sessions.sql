-- Sessions by id. Rides sessions_pkey and session_tasks_pkey, once for each; a WHERE may follow.
SELECT
  {session_columns}
FROM unnest($1::smallint[], $2::text[]) AS i (partition, id)
JOIN sessions s ON s.partition = i.partition AND s.id = i.id
{current_task_join}
