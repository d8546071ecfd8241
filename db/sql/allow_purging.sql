-- Until the end of this transaction, rows of session_events may be removed.
SELECT set_config('sessiond.purging', 'on', true)
