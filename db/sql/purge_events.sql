-- All events of sessions but their last; and how far back a watch can resume from now on.
WITH gone AS (
  DELETE FROM session_events e
  USING unnest($2::smallint[], $3::text[], $4::integer[]) AS i (partition, session_id, last_sequence)
  WHERE e.partition = i.partition
    AND e.session_id = i.session_id
    AND e.sequence < i.last_sequence
    AND e.partition = ANY($1::smallint[])
  RETURNING e.partition, e.position)
UPDATE partitions p
SET purged_position = greatest(p.purged_position, g.position)
FROM (SELECT partition, max(position) AS position FROM gone GROUP BY partition) g
WHERE p.partition = g.partition
  AND p.partition = ANY($1::smallint[])
