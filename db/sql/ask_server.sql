-- The state of the server that a connection leads to (primary.h), and the backend that answers. A standby has no WAL of
-- its own to ask for.
SELECT pg_is_in_recovery(),
       current_setting('transaction_read_only') = 'on',
       (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
       END,
       pg_backend_pid(),
       (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint
