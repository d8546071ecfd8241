-- The same for a role that may not ask for identifier and timeline.
SELECT pg_is_in_recovery(),
       current_setting('transaction_read_only') = 'on',
       NULL::bigint,
       NULL::integer,
       pg_backend_pid(),
       (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint
