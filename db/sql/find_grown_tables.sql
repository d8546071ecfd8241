-- Tables that have changed so much since they were last analyzed that plans made for them then may be wrong now.
SELECT string_agg(format('%I.%I', s.schemaname, s.relname), ', ')
FROM pg_stat_user_tables s
WHERE s.relname IN ('sessions', 'session_tasks', 'session_errors', 'session_messages', 'session_artifacts',
                    'session_events', 'session_requests', 'tombstones')
  AND s.n_mod_since_analyze > 200 + s.n_live_tup / 2
