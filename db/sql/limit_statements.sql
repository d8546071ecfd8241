-- How long each statement of this transaction may run, in milliseconds.
SELECT set_config('statement_timeout', $1::text, true)
