-- One error of a session. Rides session_errors_pkey.
SELECT
  {error_columns}
FROM session_errors x
WHERE x.partition = $1::smallint
  AND x.session_id = $2::text
  AND x.error_id = $3::text
