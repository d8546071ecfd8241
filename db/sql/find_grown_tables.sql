-- Our tables of more than twice the rows for which plans were made last: those plans may be wrong now. What changes without
-- growing is autovacuum's business.
SELECT string_agg(format('%I.%I', s.schemaname, s.relname), ', ')
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid
WHERE s.schemaname = current_schema()
  -- Others may not analyze them, and their owner's autovacuum does.
  AND pg_has_role(c.relowner, 'USAGE')
  AND s.relname IN ('sessions', 'session_tasks', 'session_errors', 'session_messages', 'session_artifacts',
                    'session_events', 'session_requests', 'tombstones')
  AND s.n_live_tup > 200 + 2 * greatest(c.reltuples, 0)
