-- Our tables with more than twice the rows of when plans were last made: those plans may be wrong now. Changes without
-- growth are left to autovacuum.
SELECT string_agg(format('%I.%I', s.schemaname, s.relname), ', ')
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = current_schema()
  -- Other roles may not analyze them; autovacuum does.
  AND pg_has_role(c.relowner, 'USAGE')
  AND s.relname IN ('sessions', 'session_tasks', 'session_errors', 'session_messages', 'session_artifacts',
                    'session_events', 'session_requests', 'tombstones')
  AND s.n_live_tup > 200 + 2 * greatest(c.reltuples, 0)
