-- Until the end of this transaction, session_events may lose rows.
SELECT set_config('sessiond.purging', 'on', true)
