-- Removes all events of sessions except the last; and notes how far back a watch can resume from now on.
WITH gone AS (
  DELETE FROM session_events e
  USING unnest($2::ended_session_row[]) AS i
  WHERE e.partition = i.partition
    AND e.session_id = i.id
    AND e.sequence < i.last_sequence
    AND e.partition = ANY($1::smallint[])
  RETURNING e.partition, e.position)
UPDATE partitions p
SET purged_position = greatest(p.purged_position, g.position)
FROM (SELECT partition, max(position) AS position FROM gone GROUP BY partition) g
WHERE p.partition = g.partition
  AND p.partition = ANY($1::smallint[])
