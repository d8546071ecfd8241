-- How late watchers read what they saw, in milliseconds from PostgreSQL's own note of the transaction's commit. stdin
-- has a line for each delivery: all or share, session, sequence, microseconds when it was read.
CREATE TEMPORARY TABLE seen (who text, session_id text, sequence integer, read_us bigint);
\copy seen FROM pstdin
ANALYZE seen;
SELECT
  count(*) FILTER (WHERE who = 'all'),
  count(*) FILTER (WHERE who = 'share'),
  percentile_disc(0.5) WITHIN GROUP (ORDER BY delay),
  percentile_disc(0.99) WITHIN GROUP (ORDER BY delay),
  percentile_disc(0.999) WITHIN GROUP (ORDER BY delay),
  max(delay)
FROM (
  SELECT who, read_us / 1000.0 - extract(epoch FROM pg_xact_commit_timestamp(e.xmin)) * 1000 AS delay
  FROM seen
  JOIN session_events e USING (session_id, sequence)
) AS deliveries;
