-- Those of these sessions whose row, or whose task's row, another transaction holds locked; as
-- find_locked_partitions.sql. Rides sessions_pkey and session_tasks_pkey, once for each id.
WITH free_sessions AS MATERIALIZED (
  SELECT i.ix
  FROM unnest($2::session_key[]) AS i
  JOIN sessions s ON s.partition = i.partition AND s.id = i.id
  WHERE s.partition = ANY($1::smallint[])
  FOR NO KEY UPDATE OF s SKIP LOCKED
), free_tasks AS MATERIALIZED (
  SELECT i.ix
  FROM unnest($2::session_key[]) AS i
  JOIN session_tasks t ON t.partition = i.partition AND t.session_id = i.id
  WHERE t.partition = ANY($1::smallint[])
  FOR NO KEY UPDATE OF t SKIP LOCKED
)
SELECT i.ix
FROM unnest($2::session_key[]) AS i
JOIN sessions s ON s.partition = i.partition AND s.id = i.id
WHERE s.partition = ANY($1::smallint[])
  AND i.ix NOT IN (SELECT ix FROM free_sessions)
UNION ALL
SELECT i.ix
FROM unnest($2::session_key[]) AS i
JOIN session_tasks t ON t.partition = i.partition AND t.session_id = i.id
WHERE t.partition = ANY($1::smallint[])
  AND i.ix NOT IN (SELECT ix FROM free_tasks)
